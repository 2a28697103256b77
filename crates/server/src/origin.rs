//! Which pages of a browser may connect.

use actix_web::http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};

/// Whether a request may come from where its `Origin` says that it comes from.
pub(crate) fn is_welcome(headers: &HeaderMap, origins: &[String]) -> bool {
    let mut named = headers.get_all(ORIGIN);
    let (origin, second) = (named.next(), named.next());
    let Some(origin) = origin else { return true };
    let Some(origin) = origin.to_str().ok().filter(|_| second.is_none()) else { return false };
    if !origins.is_empty() {
        return origins.iter().any(|allowed| allowed == origin);
    }
    let host = headers.get(HOST).map(HeaderValue::to_str);
    let Some(Ok(host)) = host else { return false };
    is_same_host(origin, host)
}

/// `Origin` leaves the default port of its scheme out; `Host` may have it.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let host = host.strip_suffix(port).unwrap_or(host);
    authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome(origin: &[&'static str], host: &'static str, allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(host));
        origin.iter().for_each(|origin| headers.append(ORIGIN, HeaderValue::from_static(origin)));
        let allowed: Vec<_> = allowed.iter().map(|&origin| origin.to_owned()).collect();
        is_welcome(&headers, &allowed)
    }

    //
    #[test]
    fn without_a_list_a_page_of_the_same_host_may_connect_and_no_other() {
        for (origin, host, expected) in [
            ("http://example.com", "example.com", true),
            ("http://EXAMPLE.com", "example.com:80", true),
            ("https://example.com", "example.com:443", true),
            ("https://example.com", "example.com:80", false),
            ("http://example.com:8080", "example.com:8080", true),
            ("http://example.com:8080", "example.com", false),
            ("http://example.com.evil.org", "example.com", false),
            ("null", "null", false),
            ("file://example.com", "example.com", false),
        ] {
            assert_eq!(welcome(&[origin], host, &[]), expected, "{origin} at {host}");
        }
        assert!(welcome(&[], "example.com", &[]), "no browser");
        assert!(!welcome(&["http://example.com", "http://example.com"], "example.com", &[]), "two origins");
    }

    //
    #[test]
    fn with_a_list_a_page_may_connect_whose_origin_stands_in_it_exactly() {
        let list = ["https://app.example.com"];
        assert!(welcome(&["https://app.example.com"], "rt.example.com", &list));
        assert!(welcome(&[], "rt.example.com", &list));
        for bad in [
            "https://rt.example.com",
            "https://app.example.com.evil.org",
            "http://app.example.com",
            "https://APP.example.com",
        ] {
            assert!(!welcome(&[bad], "rt.example.com", &list), "{bad}");
        }
    }
}
