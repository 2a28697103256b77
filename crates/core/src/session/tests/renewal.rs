//! Another token on the living link (X-8).

use super::*;
use crate::auth::Token;

impl Rig {
    fn token_news(&mut self) -> Vec<TokenNews> {
        let news = std::mem::take(&mut self.said).into_iter().filter_map(|output| match output {
            Output::Token(news) => Some(news),
            _ => None,
        });
        news.collect()
    }

    fn renew(&mut self, token: &str) -> Vec<String> {
        self.said.clear();
        self.session.handle_renew(&Token::new(token));
        self.drain();
        assert!(!format!("{:?}", self.said).contains(token), "{:?}", self.said);
        let frames = std::mem::take(&mut self.said).into_iter().map(|output| match output {
            Output::SendHidden(frame) => frame.into_frame().to_string(),
            other => panic!("{other:?}"),
        });
        frames.collect()
    }
}

// [X-8] [X-4]
#[test]
fn a_token_is_told_to_a_server_that_takes_one_and_its_answer_is_passed_on() {
    let mut rig = rig();
    rig.up();
    assert!(resume_of(&rig.sent()[0]).features.iter().any(|feature| &**feature == "auth_refresh"));
    assert_eq!(rig.renew("s3cr3t"), [""; 0], "not before the session is up");
    rig.hear(answer(0, r#","features":["auth_refresh"],"token_expires_in_ms":90000"#));
    rig.proceed();
    let expires_in = Some(Duration::from_secs(90));
    assert_eq!(rig.token_news(), [TokenNews::Accepted { expires_in, in_band: true }]);
    let frame = r#"{"type":"meta","event":"auth.refresh","payload":{"token":"s3cr3t"}}"#;
    assert_eq!(rig.renew("s3cr3t"), [frame]);
    rig.hear(r#"{"type":"meta","event":"auth.refreshed","payload":{"expires_in_ms":60000}}"#);
    assert_eq!(rig.token_news(), [TokenNews::Renewed(Some(Duration::from_secs(60)))]);
    rig.down();
    assert_eq!(rig.token_news(), [TokenNews::SessionDown]);
    assert_eq!(rig.renew("s3cr3t"), [""; 0]);
}

// [X-8]
#[test]
fn a_server_that_did_not_name_the_feature_is_not_told_and_not_believed() {
    for features in ["", r#","features":["cumulative_ack"]"#] {
        let mut rig = rig();
        rig.up();
        rig.hear(answer(0, features));
        rig.proceed();
        assert_eq!(rig.token_news(), [TokenNews::Accepted { expires_in: None, in_band: false }]);
        assert_eq!(rig.renew("s3cr3t"), [""; 0]);
        rig.hear(r#"{"type":"meta","event":"auth.refreshed","payload":{}}"#);
        assert_eq!(rig.token_news(), []);
    }
}

// [X-10] [D-6]
#[test]
fn every_way_to_say_that_a_token_is_not_good_demands_another() {
    for payload in [r#""code":401"#, r#""code":"401""#, r#""code":"expired","action":"reauth""#] {
        let mut rig = rig();
        rig.live(0);
        rig.hear(format!(r#"{{"type":"error","payload":{{{payload}}}}}"#));
        let reason = rig.hung_up().map(|(_, reason)| reason.action());
        assert_eq!(reason, Some(Action::Reauthenticate), "{payload}");
        assert_eq!(rig.token_news(), [TokenNews::Refused, TokenNews::SessionDown]);
    }
}
