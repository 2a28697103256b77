use std::{fmt, fmt::Write as _, sync::Arc, time::Duration};

use ring::hmac;

/// What the names of anonymous principals begin with. No authenticated one may.
pub(crate) const ANONYMOUS: &str = "anon:";

/// Issues and checks the resume tokens of anonymous clients.
///
/// A token is `<id>.<expiry>.<mac>`: the random part of the principal's name, the time up to which it is good, and an
/// HMAC-SHA-256 over both and the client's name. It is a bearer proof and is not kept anywhere, so an older one stays
/// good until it expires.
pub(crate) struct Tokens {
    key: hmac::Key,
    life: Duration,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new(secret: &[u8], life: Duration) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), life }
    }

    /// The name of a new anonymous principal, made of random bits.
    pub(crate) fn principal(random: u128) -> Arc<str> {
        format!("{ANONYMOUS}{random:032x}").into()
    }

    /// A proof that the session of this client is this principal's. None for one that is not anonymous.
    pub(crate) fn issue(&self, principal: &str, client_id: &str, unix_ms: u64) -> Option<String> {
        let id = principal.strip_prefix(ANONYMOUS)?;
        let life = u64::try_from(self.life.as_millis()).unwrap_or(u64::MAX);
        let expiry = unix_ms.saturating_add(life);
        let mut token = format!("{id}.{expiry:x}.");
        let mac = hmac::sign(&self.key, signed(id, expiry, client_id).as_bytes());
        for byte in mac.as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        Some(token)
    }

    /// The principal whose token this is, if it is one for this client and still good.
    pub(crate) fn verify(&self, token: &str, client_id: &str, unix_ms: u64) -> Option<Arc<str>> {
        let (rest, mac) = token.rsplit_once('.')?;
        let (id, expiry) = rest.split_once('.')?;
        let expiry = u64::from_str_radix(expiry, 16).ok()?;
        let mac = unhex(mac)?;
        // Constant time; whatever passes was signed by us, so nothing else needs to be checked first.
        hmac::verify(&self.key, signed(id, expiry, client_id).as_bytes(), &mac).ok()?;
        (unix_ms < expiry).then(|| format!("{ANONYMOUS}{id}").into())
    }
}

/// The id has no dot in it and the expiry is a number, so no two claims sign the same text.
fn signed(id: &str, expiry: u64, client_id: &str) -> String {
    format!("resume-token.{id}.{expiry:x}.{client_id}")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    //
    #[test]
    fn a_token_proves_one_principal_of_one_client_for_its_time_and_nothing_else() {
        let tokens = Tokens::new(&[7; 32], Duration::from_secs(10));
        let name = Tokens::principal(0xabc);
        assert_eq!(name.len(), ANONYMOUS.len() + 32);
        let token = tokens.issue(&name, "phone", 1_000).unwrap();
        assert_eq!(tokens.verify(&token, "phone", 10_999), Some(Arc::clone(&name)));
        assert_eq!(tokens.verify(&token, "phone", 11_000), None, "expired");
        assert_eq!(tokens.verify(&token, "tablet", 1_000), None, "another client");
        let other = Tokens::new(&[8; 32], Duration::from_secs(10));
        assert_eq!(other.verify(&token, "phone", 1_000), None, "another server's");
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(tokens.verify(&forged, "phone", 1_000), None, "{forged}");
            assert_eq!(tokens.verify(&token[..at], "phone", 1_000), None, "{}", &token[..at]);
        }
        assert_eq!(tokens.issue("alice", "phone", 1_000), None, "only the anonymous need one");
        assert!(!format!("{tokens:?}").contains('7'));
    }
}
