//! Who is calling, and what it may do: tokens with roles for people, session tokens for workers.

use crate::core::time::Clock;
use crate::core::token::{Role, Token, TokenId};
use crate::engine::Handle;
use crate::grpc::places::Crowd;
use crate::grpc::refusal::Refusal;
use crate::grpc::tls::Peer;
use crate::random;
use proto::bounds::NAME_BYTES_MAX;
use proto::{AccountKey, Digest, WorkerKey, text};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

/// The account under which the operator of the folder acts.
pub(crate) const OPERATOR: &str = "operator";
/// Longest token that is looked at, bytes: ours are shorter.
const TOKEN_BYTES_MAX: usize = 256;

/// A person, by token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) account: String,
    pub(crate) role: Role,
    /// Digest of the token.
    token: Digest,
}

impl Person {
    pub(crate) fn is_operator(&self) -> bool {
        self.role == Role::Operator
    }

    /// Whether this person may see and touch what belongs to `account`.
    pub(crate) fn may_touch(&self, account: &str) -> bool {
        self.role == Role::Operator || self.account == account
    }
}

/// A worker, by the token of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volunteer {
    pub(crate) worker: WorkerKey,
    pub(crate) account: AccountKey,
    /// The network that its stream comes from.
    pub(crate) network: Crowd,
}

/// Anybody who may call at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Person(Person),
    Volunteer(Volunteer),
}

impl Caller {
    /// Digest of the token, if it is one that may be revoked.
    pub(crate) fn token(&self) -> Option<Digest> {
        match self {
            Self::Person(person) => Some(person.token),
            Self::Volunteer(_) => None,
        }
    }
}

impl From<Person> for Caller {
    fn from(person: Person) -> Self {
        Self::Person(person)
    }
}

/// Knows tokens.
#[derive(Clone)]
pub(crate) struct Access {
    engine: Handle,
    clock: Arc<dyn Clock>,
    operator: Digest,
    sessions: Arc<RwLock<HashMap<Digest, Volunteer>>>,
    /// Of people, to be looked at before a message is read.
    people: Arc<RwLock<HashSet<Digest>>>,
    /// Counts tokens that were revoked since the start.
    revocations: watch::Sender<u64>,
}

impl Access {
    pub(crate) async fn load(
        engine: Handle,
        clock: Arc<dyn Clock>,
        operator_token: &str,
    ) -> Result<Self, crate::engine::Error> {
        let operator = Digest::of(operator_token.as_bytes());
        let revocations = watch::Sender::new(0);
        let tokens = engine.tokens().await?.into_iter();
        let people = tokens.filter(Token::is_person).map(|token| token.digest).collect();
        let people = Arc::new(RwLock::new(people));
        Ok(Self { engine, clock, operator, sessions: Arc::default(), people, revocations })
    }

    /// Refuses a call with a token of nobody before its message is read: strangers' messages are not worth the memory.
    pub(crate) fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let digest = bearer(request.metadata())?;
        let read = |set: &RwLock<HashSet<Digest>>| {
            set.read().unwrap_or_else(PoisonError::into_inner).contains(&digest)
        };
        let volunteer = || {
            let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
            sessions.contains_key(&digest)
        };
        if digest == self.operator || read(&self.people) || volunteer() {
            if let Some(peer) = request.extensions().get::<Peer>() {
                peer.is_known();
            }
            Ok(request)
        } else {
            Err(unknown().into())
        }
    }

    /// Opens a session for a worker's stream; the token ends with the session.
    pub(crate) fn open_session(&self, volunteer: Volunteer) -> (String, SessionToken) {
        let token = random::token();
        let digest = Digest::of(token.as_bytes());
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(digest, volunteer);
        (token, SessionToken { digest, sessions: Arc::clone(&self.sessions) })
    }

    /// Who calls. Tokens are compared by digest, so that the time it takes tells nothing about them.
    /// The connection that `request` came by is no stranger's from then on.
    pub(crate) fn caller<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Caller, Refusal>> + Send + use<'a, T> {
        let digest = bearer(request.metadata());
        let peer = request.extensions().get::<Peer>().cloned();
        async move {
            let caller = self.known(digest?).await?;
            if let Some(peer) = peer {
                peer.is_known();
            }
            Ok(caller)
        }
    }

    async fn known(&self, digest: Digest) -> Result<Caller, Refusal> {
        if digest == self.operator {
            let (account, role) = (OPERATOR.into(), Role::Operator);
            return Ok(Caller::Person(Person { account, role, token: digest }));
        }
        let volunteer =
            self.sessions.read().unwrap_or_else(PoisonError::into_inner).get(&digest).copied();
        if let Some(volunteer) = volunteer {
            return Ok(Caller::Volunteer(volunteer));
        }
        match self.engine.token(digest).await? {
            Some(Token { role: Role::Volunteer { .. }, .. }) => {
                Err(Refusal(Status::permission_denied(
                    "an invitation is for volunteers to join with (starling-worker join), and for nothing else: ask the operator \
                     for a researcher's token",
                )))
            }
            Some(Token { account, role, .. }) => {
                Ok(Caller::Person(Person { account, role, token: digest }))
            }
            None => Err(unknown()),
        }
    }

    /// A researcher or operator.
    pub(crate) fn person<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Person, Refusal>> + Send + use<'a, T> {
        let caller = self.caller(request);
        async move {
            match caller.await? {
                Caller::Person(person) => Ok(person),
                Caller::Volunteer(_) => Err(Refusal(Status::permission_denied(
                    "workers' session tokens are good for blobs, the log, peers and held reports only: use a researcher's token",
                ))),
            }
        }
    }

    /// An operator.
    pub(crate) fn operator<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + use<'a, T> {
        let person = self.person(request);
        async move {
            match person.await?.role {
                Role::Operator => Ok(()),
                Role::Researcher | Role::Volunteer { .. } => {
                    Err(Refusal(Status::permission_denied(
                        "this needs an operator's token, and yours is a researcher's: ask the operator to do it",
                    )))
                }
            }
        }
    }

    /// Forgets a token, and ends what it has begun; whether there was one.
    pub(crate) async fn revoke(&self, id: TokenId) -> Result<bool, Refusal> {
        let known = self.engine.revoke_token(id).await?;
        let left: HashSet<Digest> =
            self.engine.tokens().await?.into_iter().map(|token| token.digest).collect();
        self.people.write().unwrap_or_else(PoisonError::into_inner).retain(|of| left.contains(of));
        self.revocations.send_modify(|count| *count += 1);
        Ok(known)
    }

    /// Waits until a token is good no more: for ever when there is none to be revoked.
    pub(crate) async fn revoked(&self, token: Option<Digest>) -> Refusal {
        let Some(token) = token.filter(|token| *token != self.operator) else {
            return std::future::pending().await;
        };
        let mut revocations = self.revocations.subscribe();
        // An engine that has stopped ends all calls anyway.
        while !matches!(self.engine.token(token).await, Ok(None)) {
            if revocations.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
        Refusal(Status::unauthenticated(
            "the token of this call was revoked while it went on: ask the operator for a new one \
             (starling-coordinator token issue), then `starling login` and call again",
        ))
    }

    /// Makes a token; its text is returned here and kept nowhere.
    pub(crate) async fn issue(
        &self,
        account: &str,
        role: Role,
    ) -> Result<(String, TokenId), Refusal> {
        let account = account.trim();
        if account.is_empty()
            || NAME_BYTES_MAX < account.len()
            || account.chars().any(text::is_harmful)
        {
            return Err(Refusal(Status::invalid_argument(format!(
                "an account's name has 1 to {NAME_BYTES_MAX} bytes and no control or format characters"
            ))));
        }
        if account == OPERATOR && role != Role::Operator {
            return Err(Refusal(Status::invalid_argument(format!(
                "\"{OPERATOR}\" is the operator's own account: choose another"
            ))));
        }
        let token = random::token();
        let digest = Digest::of(token.as_bytes());
        let id = TokenId(digest.to_string()[..12].to_owned());
        let issued_at_ms = self.clock.now().wall_ms;
        let issued =
            Token { id: id.clone(), digest, account: account.to_owned(), role, issued_at_ms };
        let person = issued.is_person();
        self.engine.issue_token(issued).await?;
        if person {
            self.people.write().unwrap_or_else(PoisonError::into_inner).insert(digest);
        }
        Ok((token, id))
    }
}

fn unknown() -> Refusal {
    Refusal(Status::unauthenticated(
        "this token is not known here: it was revoked, is of another project, or its stream has ended; \
         ask the operator for one (starling-coordinator token issue), then `starling login`",
    ))
}

/// Ends a session when it is dropped.
#[derive(Debug)]
pub(crate) struct SessionToken {
    digest: Digest,
    sessions: Arc<RwLock<HashMap<Digest, Volunteer>>>,
}

impl Drop for SessionToken {
    fn drop(&mut self) {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}

fn bearer(metadata: &MetadataMap) -> Result<Digest, Refusal> {
    let header = metadata.get("authorization").and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    match token {
        Some(token) if !token.is_empty() && token.len() <= TOKEN_BYTES_MAX => {
            Ok(Digest::of(token.as_bytes()))
        }
        _ => Err(Refusal(Status::unauthenticated(
            "this call needs a token: send `authorization: Bearer TOKEN`, or `starling login` first",
        ))),
    }
}
