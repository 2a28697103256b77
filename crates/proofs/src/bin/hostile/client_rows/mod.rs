//! What a hostile server does to a real client, what it is to see for it, and what the client is to say.

mod frames;
mod lies;
mod openings;

use std::{io, net::TcpStream, time::Duration};

use actix_realtime::{CloseCode, EndReason, FailReason, LinkEnd, OpenError};

use crate::{
    server_rows::ended,
    wire::{FIRST, LAST, MIDDLE, Raw},
};

/// What the client says of the attack.
pub(crate) enum Says {
    /// It comes back by itself.
    Back(EndReason),
    /// It comes back after as long.
    After(Duration, EndReason),
    /// It does not come back by itself.
    Failed(FailReason),
}

/// A kind of attack.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// How many connections are attacked before an honest server takes them.
    pub(crate) times: usize,
    /// What is done to one, this one by its number from 0; says what the attacker saw.
    pub(crate) attack: fn(TcpStream, usize) -> io::Result<String>,
    pub(crate) sees: &'static str,
    pub(crate) says: Says,
    /// What became of the messages.
    pub(crate) settled: &'static str,
    /// Which of them an honest server got.
    pub(crate) heard: &'static [usize],
}

const FLOOD: u64 = 600 << 20;
const ALL: &str = "acked acked acked pending 0";

fn link(end: LinkEnd) -> Says {
    Says::Back(EndReason::Link(end))
}

fn broken(what: &str) -> Says {
    link(LinkEnd::Protocol(what.to_owned()))
}

fn too_big(what: &str) -> Says {
    link(LinkEnd::TooBig(what.to_owned()))
}

fn closed(code: u16, reason: &str) -> Says {
    link(LinkEnd::Remote { code: Some(CloseCode(code)), reason: reason.to_owned() })
}

fn refused(status: u16, retry_after: Option<u64>, body: &str) -> EndReason {
    let retry_after = retry_after.map(Duration::from_secs);
    EndReason::Open(OpenError::Http { status, retry_after, challenge: None, body: body.to_owned() })
}

fn row(
    name: &'static str,
    sees: &'static str,
    says: Says,
    attack: fn(TcpStream, usize) -> io::Result<String>,
) -> Row {
    Row { name, times: 1, attack, sees, says, settled: ALL, heard: &[1, 2, 3] }
}

/// A client that has asked for its session.
fn asked(stream: TcpStream) -> io::Result<Raw> {
    let mut raw = Raw::accept(stream, "")?;
    raw.hear_text_with(r#""resume""#)?;
    Ok(raw)
}

fn answer(more: &str) -> String {
    let answer = r#"{"type":"resume_response","server_ack_seq":0,"proto":2,"epoch":"h","pos":"p0","seq":0,"recovered":true"#;
    format!("{answer}{more}}}")
}

/// A session with a server of `proto: 2`.
fn session(stream: TcpStream) -> io::Result<Raw> {
    let mut raw = asked(stream)?;
    raw.text(&answer(""))?;
    Ok(raw)
}

/// A session with a baseline server.
fn baseline(stream: TcpStream) -> io::Result<Raw> {
    let mut raw = asked(stream)?;
    raw.text(r#"{"type":"resume_response","server_ack_seq":0,"missing":[]}"#)?;
    Ok(raw)
}

/// The numbers of the client's messages as they come.
fn messages(raw: &mut Raw, count: usize) -> io::Result<Vec<u64>> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        let text = raw.hear_text_with(r#""said""#)?;
        let seq = text.split_once(r#""seq":"#).map_or("", |(_, rest)| rest);
        let digits = seq.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        seqs.push(digits.parse().unwrap_or(0));
    }
    Ok(seqs)
}

/// Says frames once the client's messages have come; what follows.
fn after(stream: TcpStream, frames: &[&str]) -> io::Result<String> {
    let mut raw = session(stream)?;
    messages(&mut raw, 3)?;
    for frame in frames {
        raw.text(frame)?;
    }
    let end = ended(raw.end());
    raw.leave();
    Ok(end)
}

fn after_bytes(stream: TcpStream, bytes: &[u8]) -> io::Result<String> {
    let mut raw = session(stream)?;
    messages(&mut raw, 3)?;
    raw.say(bytes)?;
    let end = ended(raw.end());
    raw.leave();
    Ok(end)
}

/// Says frames that have no consequence, then closes.
fn harmless(stream: TcpStream, frames: &[&str]) -> io::Result<String> {
    let mut raw = session(stream)?;
    messages(&mut raw, 3)?;
    for frame in frames {
        raw.text(frame)?;
    }
    Ok(ended(raw.close(1000, "done")?))
}

/// What follows this as the answer to `resume`.
fn answered(stream: TcpStream, answer: &str) -> io::Result<String> {
    let mut raw = asked(stream)?;
    raw.text(answer)?;
    let end = ended(raw.end());
    raw.leave();
    Ok(end)
}

/// Answers the upgrade itself; `ACCEPT` cannot be had.
fn http(stream: TcpStream, text: &str) -> io::Result<String> {
    let mut raw = Raw::new(stream, false)?;
    raw.head()?;
    raw.say(text.as_bytes())?;
    Ok(ended(raw.end()))
}

fn event(seq: u64, payload: &str) -> String {
    format!(r#"{{"type":"event","seq":{seq},"pos":"p{seq}","event":"e","payload":{payload}}}"#)
}

fn in_fragments(raw: &mut Raw, text: &str) -> io::Result<()> {
    let mut parts = text.as_bytes().chunks(60_000).peekable();
    let mut first = FIRST;
    while let Some(part) = parts.next() {
        raw.frame(if parts.peek().is_some() { first } else { LAST }, part)?;
        first = MIDDLE;
    }
    Ok(())
}

/// Every row.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = frames::rows();
    rows.extend(lies::rows());
    rows.extend(openings::rows());
    rows
}
