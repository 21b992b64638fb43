//! The endpoint: opened with the worker's own key, closed with everything that it started.

use super::address_lookup::Lookup;
use super::admission::{self, Gate};
use super::config::{BindError, Config, ConnectError};
use super::link::RequestHandler;
use super::peer_record::Contact;
use super::peer_table::Blame;
use super::shared::Network;
use super::store::Kept;
use super::{Meter, kademlia, link, maintenance, mdns, relays, store};
use ed25519_dalek::SigningKey;
use iroh::endpoint::{
    Connection, PortmapperConfig, QuicTransportConfig, RecvStream, SendStream, presets,
};
use iroh::protocol::{DynProtocolHandler, Router, RouterBuilder};
use iroh::{Endpoint, EndpointAddr, RelayMap, RelayMode, SecretKey};
use proto::member::Certificate;
use proto::{ProjectKey, WorkerKey};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// Longest silence on a connection before it counts as lost. Live ones are kept alive every few seconds.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What happens in the neighbourhood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// A link to this peer is open.
    Joined(WorkerKey),
    /// It has ended.
    Left(WorkerKey),
}

/// An endpoint that is bound; protocols are added to it before it starts.
pub struct Opening {
    shared: Arc<Network>,
    router: RouterBuilder,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening").field("me", &self.shared.me).finish_non_exhaustive()
    }
}

impl Opening {
    /// Binds the endpoint of the worker whose key is `worker`, in a project, with what was kept in its folder: its
    /// certificate, peers, traffic.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn bind(
        config: Config,
        worker: &SigningKey,
        project: ProjectKey,
    ) -> Result<Self, BindError> {
        let me = WorkerKey::from(worker);
        let Kept { certificate, table, usage } = match &config.folder {
            Some(folder) => store::read(folder, me, &project),
            None => Kept::nothing(me),
        };
        let meter =
            Meter::new(config.up_per_second, config.down_per_second, config.month_bytes_max, usage);
        let shared = Arc::new(Network::new(config, me, project, table, meter, certificate));
        let config = &shared.config;
        let transport = QuicTransportConfig::builder()
            .max_idle_timeout(Some(SILENCE_MAX.try_into().map_err(BindError::of)?))
            .build();
        let relays = match config.relays {
            true => RelayMode::Custom(RelayMap::empty()),
            false => RelayMode::Disabled,
        };
        let mut builder = Endpoint::builder(presets::Minimal)
            .secret_key(SecretKey::from_bytes(worker.as_bytes()))
            .relay_mode(relays)
            .transport_config(transport)
            .ca_tls_config(relays::tls(&shared.seeds))
            .address_lookup(Lookup(Arc::downgrade(&shared)))
            .hooks(Gate(Arc::downgrade(&shared)));
        if !config.port_mapping {
            builder = builder.portmapper_config(PortmapperConfig::Disabled);
        }
        if let Some(address) = config.listen {
            builder = builder.clear_ip_transports().bind_addr(address).map_err(BindError::of)?;
        }
        let endpoint = Box::pin(builder.bind()).await.map_err(BindError::of)?;
        shared.set_endpoint(endpoint.clone());
        let weak = Arc::downgrade(&shared);
        let filter = move |incoming: &iroh::endpoint::Incoming| match weak.upgrade() {
            Some(shared) => admission::knock(&shared, incoming),
            None => iroh::protocol::IncomingFilterOutcome::Ignore,
        };
        let router = Router::builder(endpoint)
            .incoming_filter(Arc::new(filter))
            .accept(link::ALPN, link::Acceptor(Arc::downgrade(&shared)));
        Ok(Self { shared, router })
    }

    /// The endpoint, for protocols that need it to be made.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.router.endpoint()
    }

    /// What protocols work with. It is of use once [`Self::start`] was called.
    #[must_use]
    pub fn net(&self) -> Net {
        Net(Arc::clone(&self.shared))
    }

    /// Adds a protocol. Its connections come from members only: they have shown their certificates on a link before, and
    /// [`Net::certificate`] has them.
    #[must_use]
    pub fn accept(mut self, alpn: &[u8], handler: impl Into<Box<dyn DynProtocolHandler>>) -> Self {
        self.router = self.router.accept(alpn, handler);
        self
    }

    /// Has talks of peers served; before that their streams end.
    #[must_use]
    pub fn serve(self, talks: impl RequestHandler + 'static) -> Self {
        // Set once, before anybody is let in.
        let _ = self.shared.talks.set(Box::new(talks));
        self
    }

    /// Lets others in, and looks for them.
    #[must_use]
    pub fn start(self) -> Running {
        let Self { shared, router } = self;
        let router = router.spawn();
        shared.spawn(maintenance::run(Arc::clone(&shared)));
        if shared.config.lan {
            shared.spawn(mdns::run(Arc::clone(&shared)));
        }
        Running { net: Net(shared), router }
    }
}

/// The peer network while it runs; it ends when this is dropped, and orderly with [`Running::shutdown`].
#[derive(Debug)]
pub struct Running {
    net: Net,
    router: Router,
}

impl Running {
    /// What other parts work with.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Says goodbye to the neighbours, closes all connections and waits for what was started.
    pub async fn shutdown(self) {
        maintenance::count(&self.net.0);
        store::keep(&self.net.0).await;
        self.net.0.end_tasks().await;
        if let Err(error) = self.router.shutdown().await {
            tracing::warn!(%error, "the peers' endpoint did not close in order");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.net.0.abort_tasks();
    }
}

/// The peer network, as other parts see it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Net(pub(super) Arc<Network>);

impl Net {
    /// This worker.
    #[must_use]
    pub fn me(&self) -> WorkerKey {
        self.0.me
    }

    /// The project.
    #[must_use]
    pub fn project(&self) -> ProjectKey {
        self.0.project
    }

    /// Connects to a peer by a protocol; it is looked for and greeted first where that is needed.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        &self,
        worker: &WorkerKey,
        alpn: &[u8],
    ) -> Result<Connection, ConnectError> {
        // Here and not by the gate alone, which could not say why not.
        let address = self.greet(worker).await?;
        self.0.dial(address, alpn).await
    }

    /// Opens a stream to a peer, by its link, for something else than peers; see [`RequestHandler`]. It is looked for and greeted
    /// first where that is needed.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn talk(&self, worker: &WorkerKey) -> Result<(SendStream, RecvStream), ConnectError> {
        self.greet(worker).await?;
        let connection = self.0.state().links.get(worker).map(|live| live.connection.clone());
        let connection = connection.ok_or_else(|| ConnectError::Lost("its link ended".into()))?;
        Ok(link::talk(&connection).await?)
    }

    /// Makes sure that a peer's link is open; where it is reached.
    async fn greet(&self, worker: &WorkerKey) -> Result<EndpointAddr, ConnectError> {
        if self.0.config.lookup && !self.0.is_known(worker) {
            Box::pin(kademlia::find(&self.0, worker)).await;
        }
        let address = self.0.address_of(worker);
        let address = address.ok_or_else(|| ConnectError::Stranger("its key is none".into()))?;
        Box::pin(self.0.greet(address.clone())).await?;
        Ok(address)
    }

    /// Takes over a certificate that the coordinator gave.
    pub fn certify(&self, certificate: Certificate) {
        self.0.certificate.send_replace(Some(certificate));
    }

    /// Who this worker is and where it is reached; none before it has a certificate.
    #[must_use]
    pub fn contact(&self) -> Option<Contact> {
        self.0.own_contact()
    }

    /// What a linked peer has shown.
    #[must_use]
    pub fn certificate(&self, worker: &WorkerKey) -> Option<Certificate> {
        self.0.state().links.get(worker).map(|live| live.contact.certificate)
    }

    /// The neighbours now.
    #[must_use]
    pub fn neighbours(&self) -> Vec<WorkerKey> {
        let state = self.0.state();
        let open = state.links.iter().filter(|(_, live)| live.is_open());
        open.map(|(worker, _)| *worker).collect()
    }

    /// Whether a peer tells of itself on the local network.
    #[must_use]
    pub fn is_near(&self, worker: &WorkerKey) -> bool {
        self.0.state().is_near(worker)
    }

    /// Who comes and goes from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<PeerEvent> {
        self.0.events.subscribe()
    }

    /// Takes in peers of which somebody told.
    pub fn heard(&self, contacts: Vec<Contact>) {
        self.0.heard(contacts);
    }

    /// Blames a peer for what it did; too much of it shuts it out for an hour.
    pub fn blame(&self, worker: &WorkerKey, blame: Blame) {
        self.0.blame(worker, blame);
    }

    /// Thanks a peer for something that was of use.
    pub fn thank(&self, worker: &WorkerKey) {
        self.0.state().table.thank(worker);
    }

    /// Counts and limits what is sent and received.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// The endpoint itself.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.0.endpoint()
    }
}
