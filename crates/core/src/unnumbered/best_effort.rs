//! Ordered best effort: held in memory in the order in which it came, and handed over once.

use std::collections::VecDeque;

use bytestring::ByteString;

use super::Refusal;

#[derive(Clone, Debug)]
pub(super) struct BestEffort {
    queue: VecDeque<ByteString>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

impl BestEffort {
    pub(super) const fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { queue: VecDeque::new(), bytes: 0, max_messages, max_bytes }
    }

    /// One alone always has room, however long it is.
    pub(super) fn push(&mut self, body: ByteString) -> Result<(), Refusal> {
        let (messages, bytes) = (self.queue.len(), self.bytes);
        if messages >= self.max_messages || (messages > 0 && bytes + body.len() > self.max_bytes) {
            return Err(Refusal::Full { messages: messages as u64, bytes: bytes as u64 });
        }
        self.bytes += body.len();
        self.queue.push_back(body);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn pop(&mut self) -> Option<ByteString> {
        let body = self.queue.pop_front()?;
        self.bytes -= body.len();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [D-8]
    #[test]
    fn messages_wait_in_order_up_to_a_bound_in_number_and_in_bytes_and_the_next_is_refused() {
        let mut queue = BestEffort::new(3, 100);
        for n in 1..=3 {
            assert_eq!(queue.push(n.to_string().into()), Ok(()));
        }
        assert_eq!(queue.push("4".into()), Err(Refusal::Full { messages: 3, bytes: 3 }));
        assert_eq!(queue.pop().as_deref(), Some("1"));
        assert_eq!(queue.push("x".repeat(99).into()), Err(Refusal::Full { messages: 2, bytes: 2 }));
        assert_eq!(queue.push("x".repeat(98).into()), Ok(()));
        assert_eq!((queue.pop().as_deref(), queue.pop().as_deref()), (Some("2"), Some("3")));
        assert_eq!(queue.pop().map(|body| body.len()), Some(98));
        assert_eq!((queue.pop(), queue.bytes), (None, 0));
        assert_eq!(queue.push("x".repeat(1000).into()), Ok(()), "one alone always has room");
    }
}
