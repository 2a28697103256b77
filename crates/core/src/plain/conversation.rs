//! What a plain link is asked, and what is waited for.

use std::{collections::BTreeMap, time::Instant};

use actix_realtime_protocol::socketio::Limits;

use super::{AnswerError, AnswerTo, Args, Emit, EmitError, PlainEvent, PlainPacket};

/// Most answers that are waited for at a time.
pub const MAX_ASKED: usize = 1024;
/// Most bytes that wait to be written.
pub const MAX_QUEUED: usize = 4 * 1024 * 1024;

/// What stands around a packet, in bytes at most.
const AROUND: usize = 192;

/// The machine. `Who` is whoever waits for an answer.
#[derive(Debug)]
pub struct Conversation<Who> {
    /// Counts links; an answer to an older one goes nowhere.
    link: u64,
    /// Longest packet that the server takes; none while there is no link.
    most: Option<usize>,
    /// Never used twice, on no link, so that a late answer finds nobody else's question.
    next: u64,
    asked: BTreeMap<u64, (Instant, Who)>,
    queued: usize,
}

impl<Who> Default for Conversation<Who> {
    fn default() -> Self {
        Self { link: 0, most: None, next: 0, asked: BTreeMap::new(), queued: 0 }
    }
}

impl<Who> Conversation<Who> {
    /// A link is up, to a server that takes packets of this size.
    pub fn handle_up(&mut self, max_payload: Option<usize>) {
        self.link += 1;
        (self.most, self.queued) = (Some(max_payload.unwrap_or(usize::MAX)), 0);
    }

    /// The link is gone: whoever waited for an answer waits in vain.
    pub fn handle_down(&mut self) -> Vec<(Who, AnswerError)> {
        self.most = None;
        std::mem::take(&mut self.asked).into_values().map(|(_, who)| (who, AnswerError::Lost)).collect()
    }

    /// This much has been written.
    pub const fn handle_written(&mut self, bytes: usize) {
        self.queued = self.queued.saturating_sub(bytes);
    }

    fn admit(&mut self, emit: &Emit) -> Result<PlainPacket, EmitError> {
        let most = self.most.ok_or(EmitError::NotConnected)?;
        let packet = emit.packet(&Limits { max_packet: usize::MAX, ..Limits::default() })?;
        let size = packet.size();
        // Each attachment is a packet of its own, as long as it is on a WebSocket, a third longer by polling.
        let text = size - packet.attachments.iter().map(bytes::Bytes::len).sum::<usize>() + AROUND;
        let longest = packet.attachments.iter().map(|bytes| bytes.len().div_ceil(3) * 4 + 1);
        let len = longest.fold(text, usize::max);
        if len > most {
            return Err(EmitError::TooLarge { len, limit: most });
        }
        if self.queued > 0 && self.queued + size > MAX_QUEUED {
            return Err(EmitError::Full);
        }
        self.queued += size;
        Ok(packet)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`EmitError`]; it is not sent then.
    pub fn emit(&mut self, emit: &Emit) -> Result<PlainPacket, EmitError> {
        self.admit(emit)
    }

    /// Sends a message whose answer is waited for until `due`.
    ///
    /// # Errors
    /// [`EmitError`] with whoever waits; it is not sent then.
    pub fn ask(&mut self, emit: &Emit, who: Who, due: Instant) -> Result<PlainPacket, (EmitError, Who)> {
        if self.asked.len() >= MAX_ASKED {
            return Err((EmitError::TooManyAsked, who));
        }
        match self.admit(emit) {
            Ok(packet) => {
                let id = self.next;
                self.next += 1;
                self.asked.insert(id, (due, who));
                Ok(PlainPacket { id: Some(id), ..packet })
            }
            Err(error) => Err((error, who)),
        }
    }

    /// Answers an event.
    ///
    /// # Errors
    /// [`EmitError`]: [`NotConnected`](EmitError::NotConnected) where its link is gone.
    pub fn answer(&mut self, to: AnswerTo, answer: &Emit) -> Result<PlainPacket, EmitError> {
        if to.link != self.link {
            return Err(EmitError::NotConnected);
        }
        // The name is not sent, so any will do.
        let mut named = answer.clone();
        named.packet.name = Some("answer".to_owned());
        let packet = self.admit(&named)?;
        Ok(PlainPacket { name: None, id: Some(to.id), ..packet })
    }

    /// The server sent an event, or an answer to somebody who waits; else it is passed over.
    pub fn handle_packet(&mut self, packet: PlainPacket) -> Heard<Who> {
        let PlainPacket { name, id, args, attachments } = packet;
        let args = Args { args, attachments };
        match name {
            Some(name) => {
                let answer = id.map(|id| AnswerTo { link: self.link, id });
                Heard::Event(PlainEvent { name, args, answer })
            }
            None => match id.and_then(|id| self.asked.remove(&id)) {
                Some((_, who)) => Heard::Answer(who, args),
                None => Heard::Nothing,
            },
        }
    }

    /// Time passed: whoever has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<(Who, AnswerError)> {
        let late: Vec<_> = self.asked.iter().filter(|(_, (due, _))| *due <= now).map(|(id, _)| *id).collect();
        let late = late.into_iter().filter_map(|id| self.asked.remove(&id));
        late.map(|(_, who)| (who, AnswerError::Timeout)).collect()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.asked.values().map(|(due, _)| *due).min()
    }
}

/// What a packet was.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<Who> {
    /// An event.
    Event(PlainEvent),
    /// An answer to whoever waited for it.
    Answer(Who, Args),
    /// An answer that nobody waits for: it came late, or twice, or to nothing.
    Nothing,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_realtime_protocol::socketio::PacketError;

    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do, and there is no other way to get one"
    )]
    fn begin() -> (Conversation<&'static str>, Instant) {
        let mut conversation = Conversation::default();
        conversation.handle_up(None);
        (conversation, Instant::now())
    }

    fn reply(id: u64) -> PlainPacket {
        PlainPacket { id: Some(id), args: vec!["7".into()], ..PlainPacket::default() }
    }

    #[test]
    fn an_answer_finds_whoever_asked_once_and_ids_are_never_used_again() {
        let (mut conversation, now) = begin();
        let due = now + Duration::from_secs(1);
        let ask = Emit::new("e").arg(1).unwrap();
        for (id, who) in [(0, "ann"), (1, "bob")] {
            assert_eq!(conversation.ask(&ask, who, due).map(|packet| packet.id), Ok(Some(id)));
        }
        let Heard::Answer(who, args) = conversation.handle_packet(reply(1)) else { panic!("no answer") };
        assert_eq!((who, args.get::<u8>(0).ok()), ("bob", Some(7)));
        assert_eq!(conversation.handle_packet(reply(1)), Heard::Nothing);
        assert_eq!(conversation.handle_down(), [("ann", AnswerError::Lost)]);
        conversation.handle_up(None);
        assert_eq!(conversation.handle_packet(reply(0)), Heard::Nothing, "of the link before");
        assert_eq!(conversation.ask(&ask, "cat", due).map(|packet| packet.id), Ok(Some(2)));
    }

    #[test]
    fn whoever_waits_too_long_is_told_so_at_that_time() {
        let (mut conversation, now) = begin();
        let seconds = |seconds| now + Duration::from_secs(seconds);
        let ask = Emit::new("e");
        conversation.ask(&ask, "ann", seconds(9)).unwrap();
        conversation.ask(&ask, "bob", seconds(3)).unwrap();
        assert_eq!(conversation.poll_timeout(), Some(seconds(3)));
        assert_eq!(conversation.handle_timeout(seconds(2)), []);
        assert_eq!(conversation.handle_timeout(seconds(3)), [("bob", AnswerError::Timeout)]);
        assert_eq!(conversation.poll_timeout(), Some(seconds(9)));
        assert_eq!(conversation.handle_packet(reply(1)), Heard::Nothing);
    }

    #[test]
    fn nothing_is_kept_for_a_link_that_is_not_there() {
        let (mut conversation, now) = begin();
        let event = PlainPacket { name: Some("e".to_owned()), ..reply(5) };
        let Heard::Event(PlainEvent { answer: Some(to), .. }) = conversation.handle_packet(event) else {
            panic!("no event")
        };
        let yes = Emit::default().arg("yes").unwrap();
        let answer = PlainPacket { id: Some(5), args: vec!["\"yes\"".into()], ..PlainPacket::default() };
        assert_eq!(conversation.answer(to, &yes), Ok(answer));
        conversation.handle_down();
        assert_eq!(conversation.emit(&Emit::new("e")), Err(EmitError::NotConnected));
        assert_eq!(conversation.ask(&Emit::new("e"), "ann", now), Err((EmitError::NotConnected, "ann")));
        conversation.handle_up(None);
        assert_eq!(conversation.answer(to, &yes), Err(EmitError::NotConnected), "another link asked");
    }

    #[test]
    fn what_is_sent_and_waited_for_is_bounded() {
        let (mut conversation, now) = begin();
        for _ in 0..MAX_ASKED {
            conversation.ask(&Emit::new("e"), "ann", now).unwrap();
        }
        assert_eq!(conversation.ask(&Emit::new("e"), "bob", now), Err((EmitError::TooManyAsked, "bob")));
        let (mut conversation, _) = begin();
        let big = Emit::new("e").bytes(vec![0; 1 << 20]);
        assert_eq!((0..9).filter(|_| conversation.emit(&big).is_ok()).count(), 3);
        assert_eq!(conversation.emit(&big), Err(EmitError::Full));
        conversation.handle_written(2 << 20);
        assert!(conversation.emit(&big).is_ok());
        let over = Emit::new("e").bytes(vec![0; (1 << 20) + 1]);
        assert!(matches!(conversation.emit(&over), Err(EmitError::Invalid(PacketError::TooLarge { .. }))));
        conversation.handle_up(Some(1000));
        assert!(conversation.emit(&Emit::new("e").bytes(vec![0; 740])).is_ok());
        let refused = conversation.emit(&Emit::new("e").bytes(vec![0; 760]));
        assert_eq!(refused, Err(EmitError::TooLarge { len: 1017, limit: 1000 }));
        for name in ["", "connect", "disconnect"] {
            assert!(matches!(conversation.emit(&Emit::new(name)), Err(EmitError::Invalid(_))), "{name}");
        }
    }
}
