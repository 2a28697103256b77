use std::fmt::Write as _;

use super::{Body, MAIN, MAX_NAMESPACE, Packet, PacketError};

/// Whether a text can name a namespace: `/` and at most 127 bytes more, without a comma, a query, white space or
/// control characters.
///
/// # Errors
/// [`PacketError::Namespace`] where it cannot.
pub fn namespace_name(text: &str) -> Result<(), PacketError> {
    let bad = |c: char| matches!(c, ',' | '?' | '#' | '"') || c.is_control() || c.is_whitespace();
    if !text.starts_with('/') || text.len() > MAX_NAMESPACE || text.contains(bad) {
        return Err(PacketError::Namespace);
    }
    Ok(())
}

impl Packet<'_> {
    /// Writes the packet behind what is in `out`, which may end with an Engine.IO type. Names are encoded; arguments
    /// and data are taken for the JSON texts that they say to be.
    pub fn encode(&self, out: &mut String) {
        let attachments = self.attachments();
        out.push(match (&self.body, attachments) {
            (Body::Connect(_), _) => '0',
            (Body::Disconnect, _) => '1',
            (Body::Event(_), 0) => '2',
            (Body::Ack(_), 0) => '3',
            (Body::ConnectError(_), _) => '4',
            (Body::Event(_), _) => '5',
            (Body::Ack(_), _) => '6',
        });
        if attachments > 0 {
            // Writing to a string does not fail.
            let _ = write!(out, "{attachments}-");
        }
        if self.namespace != MAIN {
            out.push_str(self.namespace);
            out.push(',');
        }
        match &self.body {
            Body::Connect(data) => out.push_str(data.unwrap_or_default()),
            Body::Disconnect => {}
            Body::Event(event) => {
                if let Some(id) = event.id {
                    let _ = write!(out, "{id}");
                }
                out.push('[');
                string(&event.name, out);
                for arg in &event.args {
                    out.push(',');
                    out.push_str(arg);
                }
                out.push(']');
            }
            Body::Ack(ack) => {
                let _ = write!(out, "{}[", ack.id);
                for (place, arg) in ack.args.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    out.push_str(arg);
                }
                out.push(']');
            }
            Body::ConnectError(refusal) => {
                out.push_str(r#"{"message":"#);
                string(&refusal.message, out);
                if let Some(data) = refusal.data {
                    out.push_str(r#","data":"#);
                    out.push_str(data);
                }
                out.push('}');
            }
        }
    }
}

fn string(text: &str, out: &mut String) {
    // A text is always JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}
