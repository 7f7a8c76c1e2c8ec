//! What a request brings: ids and addresses in its path, a page and filters in its query, a body in its envelope, and
//! where the client sees this API.

use super::document::Refusal;
use super::format::{Format, Wanted};
use super::xml;
use crate::api::{ApiError, Context};
use crate::melange::{MelangeError, PageRequest};
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use common::name::NameError;
use common::wire::melange::Link;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use uuid::Uuid;

/// How many items a page has if the client does not say.
const DEFAULT_LIMIT: usize = 200;
/// How many items a page has at most; more may be asked for.
const MAX_LIMIT: usize = 1_000;

/// The parameters of a path, percent-decoded.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Segments<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(segments)| Self(segments)).map_err(|error| Refusal::Malformed(error.body_text()))
    }
}

/// A name in a path.
pub(super) fn name<T: FromStr<Err = NameError>>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|error: NameError| Refusal::Malformed(error.to_string()))
}

/// The parameters of a query. Those that are not asked for are ignored, as clients send more than there is.
pub(super) struct Parameters(BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Refusal::Malformed(format!("the query is invalid: {}", error.body_text())))?;
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if parameters.insert(name.clone(), value).is_some() {
                return Err(Refusal::Malformed(format!("{name}: the parameter is given twice")));
            }
        }
        Ok(Self(parameters))
    }
}

impl Parameters {
    /// The value of a parameter, if it is given.
    pub(super) fn take<T>(&mut self, name: &str) -> Result<Option<T>, Refusal>
    where
        T: FromStr,
        T::Err: Display,
    {
        let malformed = |error: T::Err| Refusal::Malformed(format!("{name}: {error}"));
        self.0.remove(name).map(|value| value.parse()).transpose().map_err(malformed)
    }

    /// The page that is asked for.
    pub(super) fn page(&mut self) -> Result<PageRequest, Refusal> {
        let limit: usize = self.take("limit")?.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 {
            return Err(Refusal::Malformed("limit: it must be positive".to_owned()));
        }
        Ok(PageRequest { limit: limit.min(MAX_LIMIT), marker: self.take::<Uuid>("marker")? })
    }
}

/// A body that is no longer JSON or XML: nothing, or an object.
pub(super) struct Envelope(Option<Value>);

impl<S: Send + Sync> FromRequest<S> for Envelope {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let format = format_of(request.headers(), request.extensions().get());
        let body = Bytes::from_request(request, state).await.map_err(ApiError::from)?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(None));
        }
        let text =
            std::str::from_utf8(&body).map_err(|_| Refusal::Malformed("the body is not UTF-8".to_owned()))?;
        let value = match format? {
            Format::Json => serde_json::from_str(text)
                .map_err(|error| Refusal::Malformed(format!("the body is no JSON: {error}")))?,
            Format::Xml | Format::Atom => xml::read(text).map_err(Refusal::Malformed)?,
        };
        Ok(Self(Some(value)))
    }
}

/// The form of a body: what its type says, else what the extension of the path says, else JSON.
fn format_of(headers: &HeaderMap, wanted: Option<&Wanted>) -> Result<Format, Refusal> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(wanted.and_then(|wanted| wanted.by_path).unwrap_or(Format::Json));
    };
    let text = value.to_str().unwrap_or_default();
    let format = Format::of_media_type(text.split(';').next().unwrap_or_default());
    format.filter(|format| *format != Format::Atom).ok_or_else(|| {
        Refusal::Malformed(format!("Content-Type: {text:?} is neither application/json nor application/xml"))
    })
}

impl Envelope {
    /// What is in the envelope of this name.
    pub(super) fn open<T: DeserializeOwned>(self, name: &str) -> Result<T, Refusal> {
        let Some(value) = self.0 else {
            return Err(Refusal::Malformed(format!("{name}: the body is empty")));
        };
        let Value::Object(mut fields) = value else {
            return Err(Refusal::Malformed(format!("{name}: the body must be an object with this field")));
        };
        let Some(content) = fields.remove(name) else {
            return Err(Refusal::Malformed(format!("{name}: the body does not have this field")));
        };
        let shape = if name == "ip_addresses" { content.is_array() } else { content.is_object() };
        if !shape {
            let kind = if name == "ip_addresses" { "a list" } else { "an object" };
            return Err(Refusal::Malformed(format!("{name}: it must be {kind}")));
        }
        parse(name, content)
    }

    /// The same where nothing at all is as good as an empty envelope.
    pub(super) fn open_if_any<T: DeserializeOwned + Default>(self, name: &str) -> Result<T, Refusal> {
        let nothing = match &self.0 {
            None => true,
            Some(value) => value.as_object().is_some_and(serde_json::Map::is_empty),
        };
        if nothing { Ok(T::default()) } else { self.open(name) }
    }
}

/// What a body brings. Of a malformed one it is told only if what it is for exists: who changes something reads it anyway, so
/// nothing is read for that before.
pub(super) async fn brought<T, U>(
    body: Result<T, Refusal>,
    its: impl Future<Output = Result<U, MelangeError>>,
) -> Result<T, Refusal> {
    if body.is_err() {
        its.await?;
    }
    body
}

/// The error names the field.
fn parse<T: DeserializeOwned>(name: &str, content: Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(content).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { name.to_owned() } else { format!("{name}.{path}") };
        Refusal::Malformed(format!("{at}: {}", error.into_inner()))
    })
}

/// Where the client sees this API.
pub(super) struct Site {
    /// Scheme and authority; empty if the client does not say.
    base: String,
    /// The path and query of the request.
    uri: String,
}

impl FromRequestParts<Context> for Site {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Self, Self::Rejection> {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let fit = |host: &&str| host.parse::<axum::http::uri::Authority>().is_ok();
        let scheme = if context.https { "https" } else { "http" };
        let base = host.filter(fit).map(|host| format!("{scheme}://{host}")).unwrap_or_default();
        let uri = parts.extensions.get::<Wanted>().map(|wanted| wanted.uri.clone()).unwrap_or_default();
        Ok(Self { base, uri })
    }
}

impl Site {
    /// The links of a resource at a path below the version.
    pub(super) fn links(&self, path: &str) -> Vec<Link> {
        let link = |rel: &str, path: String| Link { rel: rel.to_owned(), href: self.at(&path) };
        vec![link("self", format!("/v0.1{path}")), link("bookmark", path.to_owned())]
    }

    /// The URI of a path.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The link to the page behind a marker: the request's own URI, with that marker.
    pub(super) fn next(&self, marker: Uuid) -> Link {
        let (path, query) = self.uri.split_once('?').unwrap_or((&self.uri, ""));
        let others = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("marker="));
        let query: Vec<String> = others.map(str::to_owned).chain([format!("marker={marker}")]).collect();
        Link { rel: "next".to_owned(), href: self.at(&format!("{path}?{}", query.join("&"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::wire::melange::{CreateIpBlock, CreateIpRange};
    use serde_json::json;

    #[test]
    fn errors_name_the_field() {
        let open =
            |body: Value| Envelope(Some(body)).open::<CreateIpBlock>("ip_block").expect_err("malformed");
        for (body, reason) in [
            (json!([]), "ip_block: the body must be an object"),
            (json!({}), "ip_block: the body does not have"),
            (json!({"subnet": {}}), "ip_block: the body does not have"),
            (json!({"ip_block": []}), "ip_block: it must be an object"),
            (json!({"ip_block": null}), "ip_block: it must be an object"),
            (json!({"ip_block": {"cidr": "10.0.0.0/8"}}), "missing field `type`"),
            (json!({"ip_block": {"type": "private"}}), "missing field `cidr`"),
            (json!({"ip_block": {"type": "x", "cidr": "10.0.0.0/8"}}), "ip_block.type: "),
            (json!({"ip_block": {"type": "private", "cidr": "10.0.0.0/33"}}), "ip_block.cidr: "),
            (json!({"ip_block": {"type": "private", "cidr": 7}}), "ip_block.cidr: "),
            (json!({"ip_block": {"type": "private", "cidr": "10.0.0.0/8", "dns1": "x"}}), "ip_block.dns1: "),
            (
                json!({"ip_block": {"type": "private", "cidr": "10.0.0.0/8", "network_id": ""}}),
                "ip_block.network_id: ",
            ),
        ] {
            let error = open(body.clone()).to_string();
            assert!(error.contains(reason), "{body}: {error}");
        }
        let range = Envelope(Some(json!({"ip_range": {"offset": "x", "length": 1}})));
        let error = range.open::<CreateIpRange>("ip_range").expect_err("malformed").to_string();
        assert!(error.contains("ip_range.offset: \"x\" is not an integer"), "{error}");
    }

    #[test]
    fn the_next_page_keeps_the_query() {
        let marker = Uuid::from_u128(7);
        let site = |uri: &str| Site { base: "http://h:1".to_owned(), uri: uri.to_owned() };
        for (uri, expected) in [
            ("/a.json", "http://h:1/a.json?marker=00000000-0000-0000-0000-000000000007"),
            (
                "/a?limit=2&marker=x&type=public",
                "http://h:1/a?limit=2&type=public&marker=00000000-0000-0000-0000-000000000007",
            ),
        ] {
            assert_eq!(site(uri).next(marker).href, expected);
        }
    }
}
