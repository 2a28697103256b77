//! How fast the client speaks.

use std::time::Duration;

use actix_realtime::{
    Delivery, OpenError, PaceOptions, SendError, Throttle, extend::transport::LinkEnd,
    testing::ScriptedServer,
};

use crate::{builder, connected, message, numbers, payloads, run, start, value};

const SECOND: Duration = Duration::from_secs(1);

// [D-7]
#[test]
fn what_has_piled_up_goes_out_no_faster_than_the_server_asks_also_after_a_cut() {
    run(|| async {
        let server = ScriptedServer::new();
        server.set_max_rate(Some(50));
        server.refuse_links(Some(OpenError::Connect(std::io::ErrorKind::ConnectionRefused)));
        let client = start(&server);
        client.send_all((1..=300).map(|n| message("n", n))).await;
        server.refuse_links(None);
        connected(&client).await;
        server.be_silent(true);
        let sent = || server.frames().iter().filter(|frame| frame.contains("\"seq\"")).count();
        for second in 0..3 {
            let due = 50 * second;
            assert!((due..=due + 6).contains(&sent()), "{} of {due}", sent());
            tokio::time::sleep(SECOND).await;
        }
        let before = sent();
        server.cut(LinkEnd::Eof);
        server.be_silent(false);
        let begin = tokio::time::Instant::now();
        client.flush().await;
        let (seconds, resent) = (begin.elapsed().as_secs_f64(), (sent() - before) as f64);
        assert!(resent <= seconds * 50.0 + 6.0, "{resent} in {seconds} s");
        assert!(client.metrics().await.resent > 0, "what was unacked went again");
        assert_eq!(payloads(&server), numbers(1..=300));
    });
}

// [D-8]
#[test]
fn a_throttled_event_goes_at_once_and_then_the_newest_at_the_end_of_each_interval() {
    run(|| async {
        let server = ScriptedServer::new();
        let throttle = Throttle { event: "cursor".to_owned(), interval: SECOND };
        let pace = PaceOptions { throttles: vec![throttle], ..PaceOptions::default() };
        let client = value(builder(&server).configure(|config| config.pace(pace)).start_local(1));
        connected(&client).await;
        let cursor = |n, class| message("cursor", n).delivery(class);
        for n in 1..=25 {
            value(client.send(cursor(n, Delivery::Ephemeral)).await);
            value(client.send(cursor(n, Delivery::AtLeastOnce)).await);
            tokio::time::sleep(SECOND / 10).await;
        }
        tokio::time::sleep(SECOND).await;
        let unnumbered: Vec<_> = server.unnumbered().into_iter().map(|message| message.payload).collect();
        assert_eq!(unnumbered, ["1", "10", "20", "25"]);
        client.flush().await;
        assert_eq!(payloads(&server), numbers(1..=25), "durable messages are not held back");
        value(client.send(cursor(30, Delivery::AtMostOnce)).await);
        let refused = client.send(cursor(31, Delivery::AtMostOnce)).await;
        let Err(SendError::Busy { retry_after: Some(wait), message }) = refused else {
            panic!("{refused:?}")
        };
        tokio::time::sleep(wait).await;
        value(client.send(*message).await);
    });
}
