//! Messages without a number: nobody stores them, and what their classes promise holds all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{Broken, Violation, some};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// In order, each once at most, waiting while there is no link.
    BestEffort,
    /// Now, once at most, or not at all.
    AtMostOnce,
    /// The newest value, or none.
    Ephemeral,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::BestEffort, Self::AtMostOnce, Self::Ephemeral];
}

/// One message, as its application numbers it: one count for all classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unnumbered {
    /// The application that sent it.
    pub from: char,
    /// How.
    pub class: Class,
    /// Its number there, within its class.
    pub number: u64,
}

impl fmt::Display for Unnumbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} ({:?})", self.from, self.number, self.class)
    }
}

/// What became of a message where it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not known: it may be heard.
    Offered,
    /// Taken: it may be heard, or lost with its link, its process or its server.
    Taken,
    /// It must be heard by everybody else: nothing was in its way.
    Due,
    /// It must not be heard by anybody: it was refused, or dropped for want of a link.
    Void,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Words {
    fates: BTreeMap<Unnumbered, Fate>,
    heard: BTreeMap<char, Vec<Unnumbered>>,
}

impl Words {
    /// This became of it; to be said before it is sent as well.
    pub fn is(&mut self, message: Unnumbered, fate: Fate) {
        self.fates.insert(message, fate);
    }

    /// This application heard it.
    pub fn heard(&mut self, by: char, message: Unnumbered) {
        self.heard.entry(by).or_default().push(message);
    }

    /// How many were taken, and how often one was heard.
    #[must_use]
    pub fn count(&self) -> (u64, u64) {
        let taken = self.fates.values().filter(|fate| matches!(fate, Fate::Taken | Fate::Due)).count();
        (taken as u64, self.heard.values().map(Vec::len).sum::<usize>() as u64)
    }

    /// What each of these must have heard, and did not.
    #[must_use]
    pub fn missing(&self, listeners: &[char]) -> Vec<(char, Unnumbered)> {
        let due = || self.fates.iter().filter(|(_, fate)| **fate == Fate::Due).map(|(message, _)| *message);
        let has = |by: char, message| self.heard.get(&by).is_some_and(|heard| heard.contains(&message));
        let misses = |by: char| due().filter(move |m| m.from != by && !has(by, *m)).map(move |m| (by, m));
        listeners.iter().flat_map(|by| misses(*by)).collect()
    }

    /// Heard at most once each, of those that were sent; best effort and the values of one key in their order.
    pub(super) fn check(&self, broken: &mut Vec<Violation>) {
        for (by, heard) in &self.heard {
            let mut fault = |which, text: String| broken.push(Violation::new(which, format!("{by}: {text}")));
            let (mut seen, mut newest) = (BTreeSet::new(), BTreeMap::new());
            for message in heard {
                if message.from == *by {
                    fault(Broken::Repeat, format!("its own {message} came back"));
                    continue;
                }
                if matches!(self.fates.get(message), None | Some(Fate::Void)) {
                    fault(Broken::Phantom, format!("{message} was never sent, or refused"));
                }
                if !seen.insert(*message) {
                    fault(Broken::Repeat, format!("{message} came again"));
                    continue;
                }
                let newest = newest.entry((message.from, message.class)).or_insert(0);
                if message.number < *newest && message.class != Class::AtMostOnce {
                    fault(Broken::Order, format!("{message} came behind {newest}"));
                }
                *newest = message.number.max(*newest);
            }
        }
        let senders = self.fates.keys().map(|message| message.from);
        let listeners: BTreeSet<_> = self.heard.keys().copied().chain(senders).collect();
        let listeners: Vec<_> = listeners.into_iter().collect();
        let missing: Vec<_> = self.missing(&listeners).iter().map(|(by, m)| format!("{by}: {m}")).collect();
        if !missing.is_empty() {
            broken
                .push(Violation::new(Broken::Lost, format!("nothing was in the way of {}", some(&missing))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(class: Class, number: u64) -> Unnumbered {
        Unnumbered { from: 'a', class, number }
    }

    /// What is found where these were sent by `a`, and `b` heard those.
    fn found(sent: &[(Class, u64, Fate)], heard: &[(Class, u64)]) -> Vec<Broken> {
        let mut words = Words::default();
        sent.iter().for_each(|(class, number, fate)| words.is(message(*class, *number), *fate));
        words.heard.entry('b').or_default();
        heard.iter().for_each(|(class, number)| words.heard('b', message(*class, *number)));
        let mut broken = Vec::new();
        words.check(&mut broken);
        broken.into_iter().map(|violation| violation.broken).collect()
    }

    #[test]
    fn what_is_lost_without_a_cause_is_found_and_what_may_be_lost_is_not() {
        let all = Class::ALL.map(|class| (class, 1, Fate::Taken));
        assert_eq!(found(&all, &[]), []);
        for class in Class::ALL {
            assert_eq!(found(&[(class, 1, Fate::Due)], &[]), [Broken::Lost]);
            assert_eq!(found(&[(class, 1, Fate::Due)], &[(class, 1)]), []);
        }
    }

    #[test]
    fn nothing_comes_twice_and_nothing_comes_that_was_refused_or_never_sent() {
        for class in Class::ALL {
            let taken = [(class, 1, Fate::Taken)];
            assert_eq!(found(&taken, &[(class, 1), (class, 1)]), [Broken::Repeat]);
            assert_eq!(found(&taken, &[(class, 2)]), [Broken::Phantom]);
            assert_eq!(found(&[(class, 1, Fate::Void)], &[(class, 1)]), [Broken::Phantom]);
            assert_eq!(found(&[(class, 1, Fate::Offered)], &[(class, 1)]), []);
        }
    }

    #[test]
    fn best_effort_and_values_keep_their_order_and_at_most_once_need_not() {
        for (class, expected) in Class::ALL.into_iter().zip([&[Broken::Order][..], &[], &[Broken::Order]]) {
            let taken = [(class, 1, Fate::Taken), (class, 2, Fate::Taken), (class, 3, Fate::Taken)];
            assert_eq!(found(&taken, &[(class, 3), (class, 1)]), expected);
            assert_eq!(found(&taken, &[(class, 1), (class, 3)]), []);
        }
    }
}
