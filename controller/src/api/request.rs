//! Bodies, paths and queries of requests, parsed once. Every error names the field, parameter or part of the
//! path, and the reason.

use super::ApiError;
use crate::blocks::Filter;
use crate::paging::{DEFAULT_LIMIT, MAX_LIMIT, PageRequest};
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use common::name::{NameError, PodText};
use common::pool_id::Scoped;
use common::server::parse_object;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// A body that is a JSON object. Its content type is not checked.
pub(super) struct Object<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Object<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let body = Bytes::from_request(request, state).await?;
        parse_object(&body).map(Self).map_err(ApiError::Malformed)
    }
}

/// The one parameter of a path, percent-decoded: a name.
pub(super) struct Named<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Named<T>
where
    T: FromStr<Err = NameError>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name = segment(parts, state).await?.parse();
        name.map(Self).map_err(|error: NameError| ApiError::Malformed(error.to_string()))
    }
}

/// The two parameters of a path, percent-decoded: a namespace, and a name in it.
pub(super) struct NamedIn(pub(super) Scoped);

impl<S: Send + Sync> FromRequestParts<S> for NamedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path: Result<Path<(String, String)>, PathRejection> =
            Path::from_request_parts(parts, state).await;
        let Path((namespace, name)) = path.map_err(|error| ApiError::Malformed(error.body_text()))?;
        let malformed = |error: NameError| ApiError::Malformed(error.to_string());
        let text = |text| PodText::new(text).map_err(malformed);
        Ok(Self(Scoped { namespace: text(namespace)?, name: text(name)? }))
    }
}

/// The one parameter of a path: an address.
pub(super) struct Address(pub(super) std::net::IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let text = segment(parts, state).await?;
        let malformed = |_| ApiError::Malformed(format!("{text:?} is not an IP address"));
        text.parse().map(Self).map_err(malformed)
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, ApiError> {
    let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|error| ApiError::Malformed(error.body_text()))
}

/// The parameters of a query. Each may be given once, and one that is not asked for is an error: a misspelt
/// filter must not show everything.
pub(super) struct Parameters(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError::Malformed(format!("the query is invalid: {}", error.body_text())))?;
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if parameters.insert(name.clone(), value).is_some() {
                return Err(ApiError::Malformed(format!("the parameter {name:?} is given twice")));
            }
        }
        Ok(Self(parameters))
    }
}

impl Parameters {
    /// The value of a parameter, if it is given.
    pub(super) fn take<T>(&mut self, name: &str) -> Result<Option<T>, ApiError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let malformed =
            |error: T::Err| ApiError::Malformed(format!("the parameter {name:?} is invalid: {error}"));
        self.0.remove(name).map(|value| value.parse()).transpose().map_err(malformed)
    }

    /// The page that is asked for.
    pub(super) fn page(&mut self) -> Result<PageRequest, ApiError> {
        let limit: usize = self.take("limit")?.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let reason =
                format!("the parameter \"limit\" is invalid: {limit} is not between 1 and {MAX_LIMIT}");
            return Err(ApiError::Malformed(reason));
        }
        Ok(PageRequest { limit, after: self.take("continue")? })
    }

    /// The pool and the node that are asked for.
    pub(super) fn filter(&mut self) -> Result<Filter, ApiError> {
        Ok(Filter { pool: self.take("pool")?, node: self.take("node")? })
    }

    /// Done: nothing else may have been given.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.0.into_keys().next() {
            Some(name) => Err(ApiError::Malformed(format!("there is no parameter {name:?} here"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::admin::CreatePool;

    #[test]
    fn errors_name_the_field() {
        for (body, reason) in [
            ("", "it must be a JSON object"),
            ("[]", "it must be a JSON object"),
            ("{", "EOF while parsing"),
            ("{} {}", "missing field `name`"),
            (r#"{"name":"P","subnets":[]}"#, "name: pool name \"P\" is malformed"),
            (r#"{"name":"p","subnets":["10.0.0.0/8","x"]}"#, "subnets[1]: invalid IP address syntax"),
            (r#"{"name":"p","subnets":"10.0.0.0/8"}"#, "subnets: invalid type: string"),
            (r#"{"name":"p","subnets":[],"block_size":256}"#, "block_size: invalid value: integer `256`"),
            (r#"{"name":"p","subnets":[],"block_gateway":"last"}"#, "block_gateway: unknown variant `last`"),
            (r#"{"name":"p","subnets":[],"blocksize":28}"#, "blocksize: unknown field `blocksize`"),
            (r#"{"name":"p","subnets":[]}x"#, "trailing characters"),
        ] {
            match parse_object::<CreatePool>(body.as_bytes()) {
                Err(text) => assert!(text.contains(reason), "{body}: {text}"),
                Ok(pool) => panic!("{body}: {pool:?}"),
            }
        }
    }
}
