//! The monitor, in a network namespace that the test makes for itself.

use std::{env, pin::Pin, process::Command, time::Duration};

use actix_realtime_core::network::{NetworkHint, NetworkMonitor};
use actix_realtime_transport::NetlinkMonitor;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use crate::peer::real;

/// What to do in a process of its own, as a namespace is a thread's.
const INSIDE: &str = "ACTIX_REALTIME_TEST_NETNS";

/// Runs the test of this name in a namespace of its own: true inside it, where its body is to run.
fn inside(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let possible = Command::new("unshare").args(["-n", "ip", "link", "show", "lo"]).output();
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        let why = "a network namespace of one's own needs root, unshare and ip";
        assert!(env::var("CI").as_deref() != Ok("true"), "with CI=true this must not be skipped: {why}");
        // Past the capture of the test's output, so that it is read.
        let _ =
            std::io::Write::write_all(&mut std::io::stderr(), format!("{name} SKIPPED: {why}\n").as_bytes());
        return false;
    }
    let mut child = Command::new("unshare");
    child.arg("-n").arg(env::current_exe().unwrap());
    child.args(["--exact", &format!("netlink::{name}")]).env(INSIDE, "yes");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn ip(command: &str) {
    let output = Command::new("ip").args(command.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
}

type Hints = Pin<Box<dyn Stream<Item = NetworkHint>>>;

async fn next(hints: &mut Hints) -> NetworkHint {
    timeout(Duration::from_secs(10), hints.next()).await.unwrap().unwrap()
}

/// Nothing is said of these, and this hint follows what is done at last.
async fn only(hints: &mut Hints, quiet: &[&str], then: &str) -> NetworkHint {
    for command in quiet {
        ip(command);
        // Long enough to be looked at by itself. A hint of it would come before that of the last command.
        let said = timeout(Duration::from_millis(400), hints.next()).await;
        assert!(said.is_err(), "ip {command}: {said:?}");
    }
    ip(then);
    next(hints).await
}

#[test]
fn a_network_begins_with_an_address_on_a_running_link_changes_with_its_ways_and_ends_with_the_last() {
    if !inside(
        "a_network_begins_with_an_address_on_a_running_link_changes_with_its_ways_and_ends_with_the_last",
    ) {
        return;
    }
    real(async {
        let mut hints = NetlinkMonitor::new().watch();
        assert_eq!(next(&mut hints).await, NetworkHint::Offline, "there is none in a new namespace");
        // The loopback, and links that are down or have a link-local address alone, are no network.
        let quiet = [
            "link set lo up",
            "address add 192.0.2.200/32 dev lo",
            "link add near type veth peer name far",
            "address add 192.0.2.1/24 dev near",
            "link set far up",
            "address add 169.254.7.7/16 dev far",
        ];
        assert_eq!(only(&mut hints, &quiet, "link set near up").await, NetworkHint::Online);
        let same = ["link set near mtu 1400", "route add 198.51.100.0/24 via 192.0.2.7"];
        assert_eq!(only(&mut hints, &same, "route add default via 192.0.2.9").await, NetworkHint::Changed);
        let replaced = "route replace default via 192.0.2.8";
        assert_eq!(only(&mut hints, &[], replaced).await, NetworkHint::Changed);
        let second = "address add 2001:db8::1/64 dev near nodad";
        assert_eq!(only(&mut hints, &[], second).await, NetworkHint::Changed);
        // The peer's end goes down: the cable is pulled, addresses and routes stay.
        assert_eq!(only(&mut hints, &[], "link set far down").await, NetworkHint::Offline);
        assert_eq!(only(&mut hints, &[], "link set far up").await, NetworkHint::Online);
        assert_eq!(only(&mut hints, &[], "link delete near").await, NetworkHint::Offline);
    });
}

#[test]
fn a_monitor_that_begins_with_a_network_says_nothing_of_it() {
    if !inside("a_monitor_that_begins_with_a_network_says_nothing_of_it") {
        return;
    }
    real(async {
        for command in ["link add near type veth peer name far", "link set near up", "link set far up"] {
            ip(command);
        }
        ip("address add 192.0.2.1/24 dev near");
        let mut hints = NetlinkMonitor::new().watch();
        assert_eq!(
            only(&mut hints, &["link set near mtu 1400"], "link set near down").await,
            NetworkHint::Offline
        );
    });
}
