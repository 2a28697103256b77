//! The proxies that the environment names, as curl reads it.

use std::net::IpAddr;

use actix_realtime_core::endpoint::is_local;

use crate::{builder::BuildError, proxy::Proxy};

/// Where curl finds a proxy that is given without a port.
const DEFAULT_PORT: u16 = 1080;
/// The first that is set counts. `HTTP_PROXY` is left out, as by curl: under CGI it is a header that the client sent.
const FOR_WS: [&str; 4] = ["ws_proxy", "http_proxy", "all_proxy", "ALL_PROXY"];
const FOR_WSS: [&str; 6] = ["wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const FOR_NONE: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What it says.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    ws: Option<Proxy>,
    wss: Option<Proxy>,
    direct: Vec<Direct>,
}

impl Environment {
    /// Reads it through `get`.
    pub(crate) fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, BuildError> {
        let first = |names: &[&'static str]| {
            // Set to nothing it counts as set: that is how a general one is switched off for one scheme.
            names.iter().find_map(|name| get(name).map(|value| (*name, value)))
        };
        let proxy = |names| match first(names).filter(|(_, value)| !value.is_empty()) {
            Some((variable, value)) => {
                let proxy = Proxy::parse(&value, Some(DEFAULT_PORT));
                proxy.map(Some).ok_or(BuildError::ProxyVariable { variable })
            }
            None => Ok(None),
        };
        let direct = first(&FOR_NONE).map(|(_, value)| value).unwrap_or_default();
        let direct = direct.split([',', ' ']).filter(|entry| !entry.is_empty()).map(Direct::parse).collect();
        Ok(Self { ws: proxy(&FOR_WS)?, wss: proxy(&FOR_WSS)?, direct })
    }

    /// The proxy on the way to this host, which is without brackets. To this machine there is none, other than with
    /// curl: what may go there in the clear is not for a proxy to see.
    pub(crate) fn proxy(&self, secure: bool, host: &str) -> Option<&Proxy> {
        let proxy = if secure { &self.wss } else { &self.ws };
        proxy.as_ref().filter(|_| !is_local(host) && !self.direct.iter().any(|direct| direct.includes(host)))
    }
}

/// Hosts that are reached without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direct {
    All,
    /// This domain and all below it, in lower case.
    Domain(String),
    /// Addresses that begin with as many of these bits.
    Network(IpAddr, u8),
}

impl Direct {
    fn parse(entry: &str) -> Self {
        if entry == "*" {
            return Self::All;
        }
        let (address, bits) = match entry.split_once('/') {
            Some((address, bits)) => (address, bits.parse().ok()),
            None => (entry, Some(u8::MAX)),
        };
        let address = address.trim_start_matches('[').trim_end_matches(']');
        match (address.parse(), bits) {
            (Ok(address), Some(bits)) => Self::Network(address, bits),
            _ => Self::Domain(entry.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase()),
        }
    }

    fn includes(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Domain(domain) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let below = host.strip_suffix(domain.as_str());
                // A name that ends like an address is none.
                host.parse::<IpAddr>().is_err()
                    && !domain.is_empty()
                    && below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            Self::Network(network, bits) => match (network, host.parse()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(host))) => {
                    let differing = u32::from(*network) ^ u32::from(host);
                    differing.leading_zeros() >= u32::from((*bits).min(32))
                }
                (IpAddr::V6(network), Ok(IpAddr::V6(host))) => {
                    let differing = u128::from(*network) ^ u128::from(host);
                    differing.leading_zeros() >= u32::from((*bits).min(128))
                }
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, BuildError> {
        Environment::read(|name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        })
    }

    /// The proxies for `ws:` and for `wss:`.
    fn chosen(variables: &[(&str, &str)], host: &str) -> [Option<String>; 2] {
        let environment = read(variables).unwrap();
        [false, true].map(|secure| environment.proxy(secure, host).map(|proxy| format!("{proxy:?}")))
    }

    fn both(ws: &str, wss: &str) -> [Option<String>; 2] {
        [ws, wss].map(|proxy| (!proxy.is_empty()).then(|| proxy.to_owned()))
    }

    #[test]
    fn each_scheme_has_its_variables_and_the_general_one_is_the_last() {
        let host = "example.test";
        assert_eq!(chosen(&[], host), both("", ""));
        assert_eq!(chosen(&[("http_proxy", "a:1"), ("https_proxy", "b:2")], host), both("a:1", "b:2"));
        assert_eq!(chosen(&[("HTTPS_PROXY", "b:2")], host), both("", "b:2"));
        assert_eq!(chosen(&[("HTTPS_PROXY", "b:2"), ("https_proxy", "c:3")], host), both("", "c:3"));
        assert_eq!(chosen(&[("ALL_PROXY", "a:1")], host), both("a:1", "a:1"));
        assert_eq!(chosen(&[("ALL_PROXY", "a:1"), ("http_proxy", "b:2")], host), both("b:2", "a:1"));
        assert_eq!(chosen(&[("HTTP_PROXY", "a:1")], host), both("", ""), "a request's header, under CGI");
        let for_sockets = [("ws_proxy", "a:1"), ("wss_proxy", "b:2"), ("all_proxy", "c:3")];
        assert_eq!(chosen(&for_sockets, host), both("a:1", "b:2"));
        assert_eq!(chosen(&[("https_proxy", ""), ("ALL_PROXY", "a:1")], host), both("a:1", ""));
    }

    #[test]
    fn a_proxy_may_be_a_url_and_only_one_that_can_be_used_is_taken() {
        for (value, expected) in [
            ("http://proxy:3128", "proxy:3128"),
            ("HTTP://proxy:3128/", "proxy:3128"),
            ("proxy", "proxy:1080"),
            ("http://me:secret@proxy:8080/", "proxy:8080"),
            ("http://[::1]:3128", "[::1]:3128"),
        ] {
            assert_eq!(chosen(&[("https_proxy", value)], "a"), both("", expected), "{value}");
        }
        for value in ["https://proxy:3128", "socks5://proxy", "http://", "http://a b", "http://me:seCret@"] {
            let refused = read(&[("https_proxy", value)]).unwrap_err();
            assert_eq!(refused, BuildError::ProxyVariable { variable: "https_proxy" }, "{value}");
            assert!(!format!("{refused} {refused:?}").contains("seCret"));
        }
    }

    #[test]
    fn hosts_domains_and_networks_can_be_exempt() {
        let direct = |no_proxy: &str, host: &str| {
            chosen(&[("all_proxy", "a:1"), ("no_proxy", no_proxy)], host) == both("", "")
        };
        for (no_proxy, host) in [
            ("*", "example.test"),
            ("example.test", "example.test"),
            ("example.test", "a.b.EXAMPLE.test"),
            (".example.test", "example.test"),
            ("a, example.test", "www.example.test."),
            ("a example.test.", "example.test"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.0/8", "10.255.1.2"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("", "localhost"),
            ("", "127.0.0.1"),
            ("", "::1"),
            ("2001:db8::/32", "2001:db8:7::1"),
        ] {
            assert!(direct(no_proxy, host), "{no_proxy} {host}");
        }
        for (no_proxy, host) in [
            ("", "example.test"),
            ("example.test", "badexample.test"),
            ("example.test", "example.test.evil"),
            ("a.example.test", "example.test"),
            ("0.1", "10.0.0.1"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.1", "10.0.0.2"),
            ("2001:db8::/32", "2001:db9::1"),
            ("10.0.0.0/8", "2001:db8::1"),
            ("10.0.0.0/x", "10.0.0.1"),
            (".", "example.test"),
            ("*.test", "example.test"),
        ] {
            assert!(!direct(no_proxy, host), "{no_proxy} {host}");
        }
        let upper = [("all_proxy", "a:1"), ("NO_PROXY", "example.test")];
        assert_eq!(chosen(&upper, "example.test"), both("", ""));
    }
}
