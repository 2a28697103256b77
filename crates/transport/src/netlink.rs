//! What becomes of the network, as Linux's routing sockets tell it.

use std::{collections::BTreeSet, io, net::IpAddr, pin::Pin, time::Duration};

use actix_realtime_core::network::{NetworkHint, NetworkMonitor};
use actix_realtime_protocol::limits::escape;
use futures_core::Stream;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use rtnetlink::{
    Error, Handle, IpVersion, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
    packet_route::{
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
        link::LinkFlags,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    },
};
use tokio::{task::JoinHandle, time::sleep};

/// One change of the network is a burst of messages: they are waited for before the network is looked at.
const SETTLE: Duration = Duration::from_millis(100);

/// Watches links, addresses and default routes through netlink, in the network namespace of the thread that it is used
/// on. It needs no privilege.
///
/// There is a network while a link other than the loopback is up and running and has an address that is not link-local
/// (nor tentative), or has a default route of any routing table but the local one. The loss of the last such address
/// and route is [`NetworkHint::Offline`], the first one [`NetworkHint::Online`], and any other change of them
/// [`NetworkHint::Changed`]: another address, another gateway, another link for the default route. Everything else that
/// the kernel reports is no news. A virtual bridge with something running on it is a link like any other, so that its
/// machine is never `Offline`.
///
/// Where the socket fails, that is logged and the monitor ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetlinkMonitor {}

impl NetlinkMonitor {
    /// A monitor of this machine's network.
    #[must_use]
    pub const fn new() -> Self {
        Self {}
    }
}

impl NetworkMonitor for NetlinkMonitor {
    fn watch(&self) -> Pin<Box<dyn Stream<Item = NetworkHint>>> {
        match Watch::new() {
            Ok(watch) => Box::pin(stream::unfold(watch, |mut watch| async {
                match watch.next().await {
                    Ok(hint) => Some((hint, watch)),
                    Err(error) => {
                        tracing::warn!(error = escape(&error.to_string()), "netlink fails");
                        None
                    }
                }
            })),
            Err(error) => {
                tracing::warn!(%error, "netlink cannot be used");
                Box::pin(stream::empty())
            }
        }
    }
}

/// One way out of this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// An address, on the link of this index.
    Address(u32, IpAddr),
    /// A default route: its link, where it has one, its gateway, and its priority.
    Route(Option<u32>, Option<IpAddr>, u32),
}

/// The task that moves netlink's messages ends with what they are for.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Watch {
    handle: Handle,
    /// Each stands for any change: the network is looked at anew, so that it does not matter when some are lost.
    changes: Pin<Box<dyn Stream<Item = ()>>>,
    known: Option<BTreeSet<Way>>,
    _connection: Connection,
}

impl Watch {
    fn new() -> io::Result<Self> {
        let (connection, handle, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])?;
        let connection = Connection(tokio::task::spawn_local(connection));
        Ok(Self { handle, changes: Box::pin(messages.map(drop)), known: None, _connection: connection })
    }

    /// Waits until there is news.
    async fn next(&mut self) -> Result<NetworkHint, Error> {
        loop {
            if self.known.is_some() {
                self.changes.next().await.ok_or(Error::RequestFailed)?;
                sleep(SETTLE).await;
                while let Some(Some(())) = self.changes.next().now_or_never() {}
            }
            let ways = self.ways().await?;
            // Until something else is heard, there is a network.
            let was_online = self.known.as_ref().is_none_or(|known| !known.is_empty());
            let hint = match (was_online, !ways.is_empty()) {
                (true, false) => Some(NetworkHint::Offline),
                (false, true) => Some(NetworkHint::Online),
                (true, true) => {
                    self.known.as_ref().filter(|known| **known != ways).map(|_| NetworkHint::Changed)
                }
                (false, false) => None,
            };
            self.known = Some(ways);
            if let Some(hint) = hint {
                return Ok(hint);
            }
        }
    }

    async fn ways(&self) -> Result<BTreeSet<Way>, Error> {
        let mut running = BTreeSet::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await? {
            let flags = link.header.flags;
            if flags.contains(LinkFlags::Up | LinkFlags::Running) && !flags.contains(LinkFlags::Loopback) {
                running.insert(link.header.index);
            }
        }
        let mut ways = BTreeSet::new();
        let mut addresses = self.handle.address().get().execute();
        while let Some(address) = addresses.try_next().await? {
            if running.contains(&address.header.index) {
                ways.extend(usable(&address).map(|ip| Way::Address(address.header.index, ip)));
            }
        }
        for version in [IpVersion::V4, IpVersion::V6] {
            let any = match version {
                IpVersion::V4 => RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
                IpVersion::V6 => RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
            };
            let mut routes = self.handle.route().get(any).execute();
            while let Some(route) = routes.try_next().await? {
                ways.extend(default_route(&route, &running));
            }
        }
        Ok(ways)
    }
}

fn usable(address: &AddressMessage) -> Option<IpAddr> {
    let mut found = None;
    for attribute in &address.attributes {
        // On a point-to-point link `Address` is the peer's, and `Local` ours.
        if let AddressAttribute::Local(ip) = attribute {
            found = Some(*ip);
        } else if let AddressAttribute::Address(ip) = attribute {
            found = found.or(Some(*ip));
        }
    }
    let link_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    found.filter(|ip| !link_local(ip) && !address.header.flags.contains(AddressHeaderFlags::Tentative))
}

/// The table of the machine's own addresses.
const LOCAL_TABLE: u8 = 255;

fn default_route(route: &RouteMessage, running: &BTreeSet<u32>) -> Option<Way> {
    let header = &route.header;
    if header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
        || header.table == LOCAL_TABLE
    {
        return None;
    }
    let (mut link, mut gateway, mut priority) = (None, None, 0);
    for attribute in &route.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            link = Some(*index);
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(ip)) = attribute {
            gateway = Some(IpAddr::from(*ip));
        } else if let RouteAttribute::Gateway(RouteAddress::Inet6(ip)) = attribute {
            gateway = Some(IpAddr::from(*ip));
        } else if let RouteAttribute::Priority(metric) = attribute {
            priority = *metric;
        }
    }
    // A route over several links names none, and is taken to work.
    link.is_none_or(|link| running.contains(&link)).then_some(Way::Route(link, gateway, priority))
}
