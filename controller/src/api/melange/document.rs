//! What is answered: a body or a failure, which gets its form (JSON, XML) when the request's wish is known.

use super::super::ApiError;
use crate::melange::{MelangeError, Page};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::error::chain;
use common::store::StoreError;
use common::wire::melange::{Fault, Link};
use serde::Serialize;
use serde_json::{Map, Value};

/// A body that has no form yet; an extension of the response.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Document {
    /// An object with the resource or the list as its field.
    Body(Value),
    /// A failure, and what it is called.
    Fault(&'static str, Fault),
}

/// A reply.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    document: Option<Document>,
}

impl Reply {
    /// A resource in its envelope.
    pub(super) fn one(status: StatusCode, envelope: &str, resource: &impl Serialize) -> Self {
        let value = serde_json::to_value(resource).unwrap_or_default();
        let document = Document::Body(Value::Object(Map::from_iter([(envelope.to_owned(), value)])));
        Self { status, document: Some(document) }
    }

    /// A page of a list, with the way to the next one.
    pub(super) fn list<T: Serialize>(
        name: &str,
        page: &Page<T>,
        next: impl FnOnce(uuid::Uuid) -> Link,
    ) -> Self {
        let mut body = Map::new();
        body.insert(name.to_owned(), serde_json::to_value(&page.items).unwrap_or_default());
        if let Some(marker) = page.next {
            let links = serde_json::to_value([next(marker)]).unwrap_or_default();
            body.insert(format!("{name}_links"), links);
        }
        Self { status: StatusCode::OK, document: Some(Document::Body(Value::Object(body))) }
    }

    /// A whole list.
    pub(super) fn all<T: Serialize>(status: StatusCode, name: &str, items: &[T]) -> Self {
        Self::one(status, name, &items)
    }

    /// 200 without a body.
    pub(super) fn done() -> Self {
        Self { status: StatusCode::OK, document: None }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(document) = self.document {
            response.extensions_mut().insert(document);
        }
        response
    }
}

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Body, path or query are malformed.
    #[error("{0}")]
    Malformed(String),
    /// No version of the API fits.
    #[error("there is no version {0:?} of this API; there is 0.1")]
    NoVersion(String),
    /// The use case failed.
    #[error(transparent)]
    Case(#[from] MelangeError),
    /// It failed before the use case.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Case(MelangeError::Invalid { .. }) => StatusCode::BAD_REQUEST,
            Self::NoVersion(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Case(MelangeError::NotFound(_)) => StatusCode::NOT_FOUND,
            Self::Case(MelangeError::Taken { .. }) => StatusCode::CONFLICT,
            Self::Case(MelangeError::Unprocessable(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Case(MelangeError::Store(error)) => super::super::status_of_store(error),
            Self::Case(MelangeError::Record(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Api(error) => error.status(),
        }
    }
}

/// What clients call a status, and what it means.
fn kind(status: StatusCode) -> (&'static str, &'static str) {
    match status {
        StatusCode::BAD_REQUEST => ("BadRequest", "The request is malformed."),
        StatusCode::UNAUTHORIZED => ("Unauthorized", "Nobody is known to have sent the request."),
        StatusCode::FORBIDDEN => ("Forbidden", "The caller may not do this."),
        StatusCode::NOT_FOUND => ("NotFound", "The resource could not be found."),
        StatusCode::METHOD_NOT_ALLOWED => ("MethodNotAllowed", "The path does not have this method."),
        StatusCode::NOT_ACCEPTABLE => ("NotAcceptable", "There is nothing that the client accepts."),
        StatusCode::REQUEST_TIMEOUT => ("RequestTimeout", "The request took too long."),
        StatusCode::CONFLICT => ("Conflict", "Something that exists is in the way."),
        StatusCode::PAYLOAD_TOO_LARGE => ("ContentTooLarge", "The body is too long."),
        StatusCode::UNPROCESSABLE_ENTITY => ("UnprocessableEntity", "The request can't be carried out."),
        StatusCode::SERVICE_UNAVAILABLE => ("ServiceUnavailable", "Try again later."),
        _ => ("InternalServerError", "The controller's log says more."),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let cause = chain(&self);
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), error = cause, "request failed");
        } else {
            tracing::debug!(status = status.as_u16(), error = cause, "request refused");
        }
        let detail = match self {
            // Which call of which library failed is for the log.
            Self::Case(MelangeError::Store(error)) => StoreError::to_string(&error),
            _ => cause,
        };
        let (name, message) = kind(status);
        let fault = Fault { code: status.as_u16(), message: message.to_owned(), detail };
        let document = Some(Document::Fault(name, fault));
        let mut response = Reply { status, document }.into_response();
        super::super::ask_for_token(&mut response);
        response
    }
}

/// How this API answers what is refused before a handler is called.
pub(in crate::api) fn refuse(error: ApiError) -> Response {
    Refusal::Api(error).into_response()
}
