//! Where a token must not be seen.

use std::time::Duration;

use actix_realtime_core::{
    auth::Token,
    config::{Config, ConfigError},
    store::ResumeToken,
    transport::{LinkLimits, OpenRequest},
};

const SECRET: &str = "s3cr3t-t0k3n";

//
#[test]
fn a_url_with_a_secret_in_it_is_refused_and_not_repeated() {
    for url in [
        format!("wss://user:{SECRET}@example.test/ws"),
        format!("wss://{SECRET}@example.test/ws"),
        format!("wss://example.test/ws?token={SECRET}"),
        format!("wss://example.test/ws?room=1&Access_Token={SECRET}#top"),
    ] {
        let error = Config::builder(&url).build().expect_err(&url);
        assert!(matches!(error, ConfigError::Url { .. }), "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
}

//
#[test]
fn what_is_printed_of_a_configuration_or_a_request_shows_no_token() {
    let config = Config::builder("wss://example.test/ws?room=private").token(SECRET).build().expect("valid");
    let request = OpenRequest {
        url: config.endpoint().url().to_owned(),
        token: config.token().cloned(),
        timeout: Duration::from_secs(1),
        limits: LinkLimits::default(),
    };
    assert!(request.token.is_some());
    for text in [
        format!("{config:?} {:?}", config.endpoint()),
        format!("{request:?}"),
        format!("{:?}", ResumeToken::new(SECRET)),
        format!("{:?}", Token::new(SECRET).valid_for(Duration::from_secs(1))),
    ] {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_eq!(
        config.endpoint().to_string(),
        "wss://example.test/ws",
        "a query may hold one, so none is shown"
    );
}
