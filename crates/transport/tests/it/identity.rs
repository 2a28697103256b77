//! Who the server is, by its key, and who we are, by a certificate.

use actix_realtime_core::transport::{LinkEnd, LinkEvent, OpenError, Transport};
use actix_realtime_protocol::Action;
use actix_realtime_transport::{BuildError, Polling, SocketIoTransport, WsTransport};
use futures_util::{StreamExt, future::join};

use crate::{
    authority::Authority,
    peer::{Peer, frames, paused, request},
    tls::open,
};

#[test]
fn a_server_whose_key_is_one_of_those_pinned_is_accepted_and_another_is_named() {
    paused(async {
        let ours = Authority::new("ours");
        let (certificate, key, pin) = ours.certify("peer");
        let (_, _, other) = ours.certify("peer");
        let server = Authority::server_with(&certificate, &key, None);
        let builder = || WsTransport::builder().root_certificates(ours.der.clone());
        for pins in [vec![pin.clone()], vec![other.clone(), format!("sha256/{pin}")]] {
            let builder = pins.iter().fold(builder(), |builder, pin| builder.pin(pin));
            assert_eq!(frames(&mut open(builder, &server).await.unwrap()).await, ["secured"]);
        }
        let refused = open(builder().pin(other), &server).await.unwrap_err();
        assert_eq!(refused, OpenError::NotPinned { found: pin });
        assert_eq!(refused.action(), Action::Reconnect);
    });
}

#[test]
fn over_socket_io_the_same_pins_certificates_and_cookies_go_with_every_request() {
    paused(async {
        let ours = Authority::new("ours");
        let (certificate, key, pin) = ours.certify("peer");
        let (_, _, other) = ours.certify("peer");
        let (mine, my_key, _) = ours.certify("me");
        for (pin, accepted) in [(pin, true), (other, false)] {
            for polling in [Polling::Never, Polling::Only] {
                let builder = SocketIoTransport::builder().root_certificates(ours.der.clone()).pin(&pin);
                let builder = builder.client_certificate(mine.clone(), my_key.clone()).cookie("a", "b");
                let (transport, mut peers) = crate::socketio::pipes(builder.polling(polling));
                let server = Authority::server_with(&certificate, &key, Some(&ours));
                let serve = async {
                    let stream = server.accept(peers.recv().await.unwrap()).await.ok()?;
                    let mut peer = Peer::accept(stream).await;
                    let has_cookie = peer.head.lines().any(|line| line.eq_ignore_ascii_case("cookie: a=b"));
                    peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
                    Some(has_cookie)
                };
                let (link, has_cookie) = join(transport.open(request("https://peer")), serve).await;
                if accepted {
                    assert!(
                        matches!(link, Err(OpenError::Http { status: 403, .. })),
                        "{polling:?}: {link:?}"
                    );
                    assert_eq!(has_cookie, Some(true), "{polling:?}");
                } else {
                    assert!(matches!(link, Err(OpenError::NotPinned { .. })), "{polling:?}: {link:?}");
                }
            }
        }
    });
}

#[test]
fn a_pin_is_checked_beside_the_usual_verification_and_not_instead_of_it() {
    paused(async {
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        let (certificate, key, pin) = ours.certify("peer");
        let unknown = WsTransport::builder().root_certificates(other.der.clone()).pin(&pin);
        let server = Authority::server_with(&certificate, &key, None);
        let refused = open(unknown, &server).await;
        assert!(matches!(&refused, Err(OpenError::Tls(why)) if why.contains("UnknownIssuer")), "{refused:?}");
        let (certificate, key, pin) = ours.certify("elsewhere");
        let server = Authority::server_with(&certificate, &key, None);
        let refused = open(WsTransport::builder().root_certificates(ours.der).pin(pin), &server).await;
        assert!(
            matches!(&refused, Err(OpenError::Tls(why)) if why.contains("not valid for name")),
            "{refused:?}"
        );
    });
}

#[test]
fn a_pinned_certificate_that_is_merely_sent_along_does_not_count() {
    paused(async {
        let ours = Authority::new("ours");
        let (certificate, key, _) = ours.certify("peer");
        let (pinned, _, pin) = ours.certify("peer");
        let server = Authority::server_with(&(certificate + &pinned), &key, None);
        let refused = open(WsTransport::builder().root_certificates(ours.der).pin(pin), &server).await;
        assert!(matches!(refused, Err(OpenError::NotPinned { .. })), "{refused:?}");
    });
}

#[test]
fn a_server_that_demands_a_certificate_takes_ours_and_no_other_and_not_none() {
    paused(async {
        let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
        let (certificate, key, _) = ours.certify("peer");
        let server = Authority::server_with(&certificate, &key, Some(&clients));
        let builder = || WsTransport::builder().root_certificates(ours.der.clone());
        let (good, good_key, _) = clients.certify("client");
        let der = |pem: &str| {
            let lines = pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>();
            base64::Engine::decode(&base64::engine::general_purpose::STANDARD, lines).unwrap()
        };
        for builder in [
            builder().client_certificate(good.clone(), good_key.clone()),
            builder().client_certificate(good.clone() + &clients.pem, good_key.clone()),
            builder().client_certificate(der(&good), der(&good_key)),
        ] {
            assert_eq!(frames(&mut open(builder, &server).await.unwrap()).await, ["secured"]);
        }
        let (foreign, foreign_key, _) = ours.certify("client");
        for builder in [builder(), builder().client_certificate(foreign, foreign_key)] {
            match open(builder, &server).await {
                // With TLS 1.3 the client is done before the server has looked.
                Ok(mut link) => {
                    let end = link.events.next().await;
                    assert!(matches!(end, Some(LinkEvent::End(LinkEnd::Io(_) | LinkEnd::Eof))), "{end:?}");
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("alert") || matches!(error, OpenError::Connect(_)), "{text}");
                }
            }
        }
    });
}

#[test]
fn a_key_or_a_pin_that_is_none_is_refused_when_the_transport_is_made_and_not_shown() {
    let ours = Authority::new("ours");
    let (certificate, key, _) = ours.certify("client");
    let (other, other_key, _) = ours.certify("client");
    let build = |chain: &str, key: &str| {
        let builder = WsTransport::builder().client_certificate(chain, key);
        assert!(!format!("{builder:?}").contains("PRIVATE"), "{builder:?}");
        builder.build()
    };
    let transport = build(&certificate, &key).unwrap();
    assert!(!format!("{transport:?}").contains("PRIVATE"), "{transport:?}");
    for (chain, key, reason) in [
        (&certificate, &other_key, "it is not the certificate's"),
        (&certificate, &String::new(), "it cannot be read"),
        (&certificate, &certificate, "it cannot be read"),
    ] {
        assert_eq!(build(chain, key).unwrap_err(), BuildError::Key { reason });
    }
    for chain in ["", "junk", &other_key] {
        let refused = build(chain, &key).unwrap_err();
        assert!(matches!(refused, BuildError::Certificate { .. }), "{chain}: {refused:?}");
    }
    assert!(build(&other, &other_key).is_ok());
    for pin in ["", "AAAA", "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "not base64 at all"] {
        assert_eq!(WsTransport::builder().pin(pin).build().unwrap_err(), BuildError::Pin, "{pin}");
    }
}
