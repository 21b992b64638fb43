//! The token on each call of a researcher, an operator, or a worker's session.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Puts a token on calls, as `authorization: Bearer TOKEN`.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

/// A token with characters that no token has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the token has characters that no token has: copy it whole")]
pub struct NoToken;

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer")
    }
}

impl Bearer {
    /// Of this token.
    ///
    /// # Errors
    /// [`NoToken`] when it cannot be put on a call.
    pub fn new(token: &str) -> Result<Self, NoToken> {
        format!("Bearer {token}").parse().map(Self).map_err(|_| NoToken)
    }

    /// A call with it.
    #[must_use]
    pub fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.0.clone());
        request
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}
