//! The shape of a deployment. Each shape requires some settings and refuses others.

use std::net::{SocketAddr, ToSocketAddrs};

use doorbuster_store::check_address;
use secrecy::SecretString;

use super::check::SettingsReader;
use super::check::settings_reader::node_address;

/// The shape of the deployment, or [`Shape::Edge`] for an edge. The shape says where the server
/// decides about stock, and where it stores its data.
#[derive(Debug)]
pub enum Shape {
    /// In this process and its data directory.
    Embedded,
    /// Each node has its own slots in its memory. The store is PostgreSQL.
    Postgres {
        /// URL of the store.
        store: SecretString,
    },
    /// All nodes share slots in Redis. The store is PostgreSQL.
    Cluster {
        /// URL of the store.
        store: SecretString,
        /// URLs of the Redis servers with the slots.
        slots: Vec<SecretString>,
        /// How many replicas of Redis should confirm a ticket before a node answers. The node waits
        /// only a short time for the replicas.
        wait_replicas: u32,
    },
    /// This process is an edge of a deployment with shape `cluster`. It does not decide about stock
    /// and has no store.
    Edge {
        /// URLs of the Redis servers with the slots, or of their replicas.
        slots: Vec<SecretString>,
        /// Nodes with the role `api`.
        upstreams: Vec<NamedNodes>,
    },
}

/// A host name and port from `edge.upstreams`, and the addresses from its last successful lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedNodes {
    name: String,
    addresses: Vec<SocketAddr>,
}

impl NamedNodes {
    /// Looks up the addresses of a `HOST:PORT`. Returns `None` if it has none.
    #[must_use]
    pub fn look_up(name: String) -> Option<Self> {
        let mut addresses: Vec<SocketAddr> = name.to_socket_addrs().ok()?.collect();
        // An edge counts each address as one node. So if a node has an IPv4 and an IPv6 address,
        // the list must have only one of them.
        let is_ipv4 = addresses.first()?.is_ipv4();
        addresses.retain(|address| address.is_ipv4() == is_ipv4);
        addresses.sort_unstable();
        addresses.dedup();
        Some(Self { name, addresses })
    }

    /// Looks up the name again, and returns it with the new addresses. If the lookup fails, keeps
    /// the present addresses.
    #[must_use]
    pub fn look_up_again(self) -> Self {
        Self::look_up(self.name.clone()).unwrap_or(self)
    }

    /// Returns the addresses.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Shape {
    /// Returns the shape's name in the settings.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres { .. } => "postgres",
            Self::Cluster { .. } | Self::Edge { .. } => "cluster",
        }
    }

    /// Returns the URL of a store that several nodes share. `None` means that the shape has no such
    /// store.
    #[must_use]
    pub fn store(&self) -> Option<&SecretString> {
        match self {
            Self::Embedded | Self::Edge { .. } => None,
            Self::Postgres { store } | Self::Cluster { store, .. } => Some(store),
        }
    }
}

/// The kinds of work that a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Serves buyers and operators.
    pub api: bool,
    /// Settles tickets.
    pub settle: bool,
    /// Takes part in shared work for all nodes, such as opening sales. One node at a time does this
    /// work.
    pub control: bool,
    /// Answers some requests from memory, without a store. Passes all other requests to nodes. A
    /// process with this role has no other role.
    pub edge: bool,
}

impl Roles {
    /// All roles of a node with a store.
    pub const ALL: Self = Self { api: true, settle: true, control: true, edge: false };
    /// The role of an edge.
    pub const EDGE: Self = Self { api: false, settle: false, control: false, edge: true };

    /// Returns the names of the roles, as in the settings.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            ("api", self.api),
            ("settle", self.settle),
            ("control", self.control),
            ("edge", self.edge),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
}

/// The maximum number of addresses in `slots.urls`, and also in `edge.upstreams`.
const URLS_MAX: usize = 64;
/// The largest allowed value of `slots.wait_replicas`.
const REPLICAS_MAX: u64 = 10;

/// Returns whether an operator gave the setting a value that has an effect. The values in the
/// default file (0 replicas, no peers) have no effect. So a copy of the default file is valid in
/// every shape.
fn is_wanted(read: &mut SettingsReader<'_>, path: &'static str) -> bool {
    read.is_set(path)
        && match path {
            "slots.wait_replicas" => read.integer(path, 0..=REPLICAS_MAX) != Some(0),
            "store.peers" => read.list(path).is_none_or(|peers| !peers.is_empty()),
            _ => true,
        }
}

pub(super) fn shape(read: &mut SettingsReader<'_>) -> Option<Shape> {
    if read.list("roles").is_some_and(|roles| roles.iter().any(|role| role == "edge")) {
        return edge(read);
    }
    if read.is_set("edge.upstreams") {
        let why = "is only for the role edge; remove this setting, or write roles = [\"edge\"]";
        read.fault("edge.upstreams", why);
    }
    match read.text("shape").as_deref() {
        None | Some("embedded") => {
            for path in ["store.url", "store.peers", "slots.urls", "slots.wait_replicas"] {
                if is_wanted(read, path) {
                    read.fault(
                        path,
                        "contradicts shape = \"embedded\", which keeps everything in data_dir; \
                         remove this setting",
                    );
                }
            }
            Some(Shape::Embedded)
        }
        Some("postgres") => {
            for path in ["slots.urls", "slots.wait_replicas"] {
                if is_wanted(read, path) {
                    let why = "contradicts shape = \"postgres\", whose slots are in the memory \
                               of the nodes; remove this setting, or write shape = \"cluster\"";
                    read.fault(path, why);
                }
            }
            Some(Shape::Postgres { store: store(read, "postgres")? })
        }
        Some("cluster") => {
            let (store, slots) = (store(read, "cluster"), slots(read));
            let wait_replicas = read.integer("slots.wait_replicas", 0..=REPLICAS_MAX)?;
            Some(Shape::Cluster {
                store: store?,
                slots: slots?,
                wait_replicas: u32::try_from(wait_replicas).ok()?,
            })
        }
        Some(_) => read.refuse("shape", "is not a shape; write embedded, postgres or cluster"),
    }
}

fn edge(read: &mut SettingsReader<'_>) -> Option<Shape> {
    if read.is_set("shape") && read.text("shape").as_deref() != Some("cluster") {
        read.fault("shape", "does not allow the role \"edge\"; set shape = \"cluster\"");
    }
    if read.is_set("store.url") {
        read.fault(
            "store.url",
            "contradicts the role edge, which uses no store; remove this setting",
        );
    }
    let (slots, upstreams) = (slots(read), upstreams(read));
    Some(Shape::Edge { slots: slots?, upstreams: upstreams? })
}

fn upstreams(read: &mut SettingsReader<'_>) -> Option<Vec<NamedNodes>> {
    let named =
        if read.is_set("edge.upstreams") { read.list("edge.upstreams")? } else { Vec::new() };
    if named.is_empty() || named.len() > URLS_MAX {
        return read.refuse(
            "edge.upstreams",
            format!(
                "must name 1 to {URLS_MAX} nodes that have the role api, because the role edge \
                 passes requests to them; write http://HOST:PORT"
            ),
        );
    }
    let mut upstreams = Vec::new();
    for text in named {
        let url = node_address(&text).filter(|url| url.scheme() == "http");
        let address = url
            .and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
        match address.and_then(NamedNodes::look_up) {
            Some(nodes) => upstreams.push(nodes),
            None => {
                let why = format!(
                    "{text:?} is not the address of a node, or its host name cannot be looked up; \
                     write http://HOST:PORT"
                );
                return read.refuse("edge.upstreams", why);
            }
        }
    }
    Some(upstreams)
}

/// Reads the URL of the store. An error never shows this URL, because it may contain a password.
fn store(read: &mut SettingsReader<'_>, shape: &str) -> Option<SecretString> {
    if !read.is_set("store.url") {
        return read.refuse(
            "store.url",
            format!("is missing, and shape = \"{shape}\" needs it; write postgres://…"),
        );
    }
    let url = read.text("store.url")?;
    if !["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| url.starts_with(scheme) && url.len() > scheme.len())
    {
        return read.refuse(
            "store.url",
            "is not the URL of a PostgreSQL server; write postgres://user@host/database",
        );
    }
    if let Err(error) = check_address(&url) {
        return read.refuse("store.url", format!("{error}; write postgres://user@host/database"));
    }
    Some(url.into())
}

fn slots(read: &mut SettingsReader<'_>) -> Option<Vec<SecretString>> {
    let urls = if read.is_set("slots.urls") { read.list("slots.urls")? } else { Vec::new() };
    if urls.is_empty() || urls.len() > URLS_MAX {
        return read.refuse(
            "slots.urls",
            format!("must name 1 to {URLS_MAX} servers for shape = \"cluster\"; write redis://…"),
        );
    }
    if !urls
        .iter()
        .all(|url| ["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)))
    {
        return read.refuse(
            "slots.urls",
            "must name only Redis servers; write redis://host:6379, or rediss://…",
        );
    }
    Some(urls.into_iter().map(SecretString::from).collect())
}

pub(super) fn roles(read: &mut SettingsReader<'_>, shape: Option<&Shape>) -> Option<Roles> {
    let roles = read.list("roles")?;
    if let Some(other) =
        roles.iter().find(|role| !["api", "settle", "control", "edge"].contains(&role.as_str()))
    {
        let why =
            format!("{other:?} is not a role; write some of api,settle,control, or edge alone");
        return read.refuse("roles", why);
    }
    if roles.iter().any(|role| role == "edge") {
        if roles.iter().any(|role| role != "edge") {
            let why = "combines edge with other roles; an edge has no store, so write edge alone";
            return read.refuse("roles", why);
        }
        return Some(Roles::EDGE);
    }
    let has = |role: &str| roles.iter().any(|other| other == role);
    let roles =
        Roles { api: has("api"), settle: has("settle"), control: has("control"), edge: false };
    match shape {
        _ if !(roles.api || roles.settle || roles.control) => {
            read.refuse("roles", "is empty; write api,settle,control or some of them")
        }
        Some(Shape::Embedded) if roles != Roles::ALL => read.refuse(
            "roles",
            "must be api,settle,control, because in shape \"embedded\" one process has all roles",
        ),
        Some(Shape::Postgres { .. }) if roles.api != roles.settle => read.refuse(
            "roles",
            "with shape = \"postgres\", a node settles its own tickets; write api and settle \
             together",
        ),
        _ => Some(roles),
    }
}
