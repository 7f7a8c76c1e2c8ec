//! In which form a request is answered, and which version of the API it means. Both may be said in the path or by the
//! header Accept; the path wins.
//!
//! This is around the router: the path that it sees has no extension, and has a version.

use super::document::{Document, Refusal};
use super::xml;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

/// Where the version that there is begins.
const PREFIX: &str = "/v0.1";
const VERSION: &str = "0.1";

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Xml,
    /// Of the versions alone.
    Atom,
}

impl Format {
    fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "json" => Some(Self::Json),
            "xml" => Some(Self::Xml),
            "atom" => Some(Self::Atom),
            _ => None,
        }
    }

    /// The form that a media type names, without its parameters.
    pub(super) fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type.trim().to_ascii_lowercase().as_str() {
            "application/json" | "application/vnd.openstack.melange+json" => Some(Self::Json),
            "application/xml" | "text/xml" | "application/vnd.openstack.melange+xml" => Some(Self::Xml),
            "application/atom+xml" => Some(Self::Atom),
            _ => None,
        }
    }

    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
            Self::Atom => "application/atom+xml",
        })
    }
}

/// What a request wants; an extension of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) format: Format,
    /// The form that the extension of the path names.
    pub(super) by_path: Option<Format>,
    /// The path and query as the client wrote them.
    pub(super) uri: String,
}

/// Whether a path is of this API.
pub(in crate::api) fn is_ours(path: &str) -> bool {
    let first = path.strip_prefix('/').and_then(|path| path.split(['/', '.']).next());
    path == PREFIX
        || path.starts_with("/v0.1/")
        || path.starts_with("/v0.1.")
        || matches!(first, Some("" | "ipam" | "extensions"))
}

/// A router that answers each request of this API in its form.
pub(in crate::api) fn negotiate(router: Router) -> Router {
    Router::new().fallback(move |request: Request| {
        let router = router.clone();
        async move {
            if !is_ours(request.uri().path()) {
                return into(router, request).await;
            }
            match prepare(request) {
                Ok((request, wanted)) => render(into(router, request).await, wanted.format),
                Err((refusal, format)) => render(refusal.into_response(), format),
            }
        }
    })
}

async fn into(router: Router, request: Request) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The request as the router knows it.
fn prepare(mut request: Request) -> Result<(Request, Wanted), (Refusal, Format)> {
    let path = request.uri().path();
    let (directory, last) = path.rsplit_once('/').unwrap_or(("", path));
    let extension = last.rsplit_once('.').and_then(|(name, ext)| Some((name, Format::of_extension(ext)?)));
    let (mut path, by_path) = match extension {
        Some((name, format)) => (format!("{directory}/{name}"), Some(format)),
        None => (path.to_owned(), None),
    };
    let accepted = Accepted::of(request.headers());
    let format = by_path.or(accepted.format).unwrap_or(Format::Json);
    // Only the versions are a feed.
    let format = if format == Format::Atom && path != "/" { Format::Json } else { format };
    if path.starts_with("/ipam/") {
        if let Some(version) = accepted.version.filter(|version| version != VERSION) {
            return Err((Refusal::NoVersion(version), format));
        }
        path = format!("{PREFIX}{path}");
    }
    let uri = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
    let wanted = Wanted { format, by_path, uri };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    let malformed = |_| (Refusal::Malformed("the path is malformed".to_owned()), format);
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).map_err(malformed)?);
    let malformed = |_| (Refusal::Malformed("the path is malformed".to_owned()), format);
    *request.uri_mut() = Uri::from_parts(parts).map_err(malformed)?;
    request.extensions_mut().insert(wanted.clone());
    Ok((request, wanted))
}

/// What the header Accept says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Accepted {
    format: Option<Format>,
    /// The version of the type that was made for this API, in what is preferred.
    version: Option<String>,
}

impl Accepted {
    /// The first of those that are preferred most and known; what is not known is passed over.
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut best: Option<(u32, Self)> = None;
        for media in values.flat_map(|value| value.split(',')) {
            let mut parts = media.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let any = matches!(media_type, "*/*" | "application/*");
            let Some(format) = Format::of_media_type(media_type).or(any.then_some(Format::Json)) else {
                continue;
            };
            let (mut quality, mut version) = (1_000, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = thousandths(value.trim()),
                    "version" if media_type.contains("vnd.openstack.melange") => {
                        version = Some(value.trim().trim_start_matches('v').to_owned());
                    }
                    _ => {}
                }
            }
            if quality > 0 && best.as_ref().is_none_or(|(most, _)| quality > *most) {
                best = Some((quality, Self { format: Some(format), version }));
            }
        }
        best.map(|(_, accepted)| accepted).unwrap_or_default()
    }
}

/// A quality of 0 to 1 with up to three digits behind the point (RFC 9110, 12.4.2).
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    match (whole, digits.parse::<u32>()) {
        ("0", Ok(digits)) => digits,
        _ => 1_000,
    }
}

/// Gives a response its body.
fn render(mut response: Response, format: Format) -> Response {
    let Some(document) = response.extensions_mut().remove::<Document>() else { return response };
    let (written, format) = match (format, &document) {
        (Format::Xml, _) => (xml::write(&document), format),
        (Format::Atom, Document::Body(body)) => (xml::write_feed(body, super::versions::UPDATED), format),
        (Format::Json | Format::Atom, _) => (json(&document), Format::Json),
    };
    let Ok(body) = written else {
        tracing::warn!("a reply can't be written");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    response.headers_mut().insert(header::CONTENT_TYPE, format.media_type());
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

fn json(document: &Document) -> std::io::Result<Vec<u8>> {
    Ok(match document {
        Document::Body(body) => serde_json::to_vec(body)?,
        Document::Fault(name, fault) => serde_json::to_vec(&serde_json::json!({*name: fault}))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> Accepted {
        Accepted::of(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(text).expect("header"))]))
    }

    #[test]
    fn accept() {
        let only = |format| Accepted { format: Some(format), version: None };
        for (text, expected) in [
            ("application/xml", only(Format::Xml)),
            ("text/html, application/xml;q=0.9, */*;q=0.8", only(Format::Xml)),
            ("application/xml;q=0.5, application/json", only(Format::Json)),
            ("application/xml;q=0, */*", only(Format::Json)),
            ("application/json, application/xml", only(Format::Json)),
            ("text/html", Accepted::default()),
            ("", Accepted::default()),
            (";;,=,q", Accepted::default()),
            ("APPLICATION/XML", only(Format::Xml)),
            (
                "application/vnd.openstack.melange+xml; version=9",
                Accepted { format: Some(Format::Xml), version: Some("9".to_owned()) },
            ),
        ] {
            assert_eq!(accepted(text), expected, "{text}");
        }
    }

    #[test]
    fn whose_a_path_is() {
        for (path, ours) in [
            ("/", true),
            ("/.json", true),
            ("/v0.1", true),
            ("/v0.1.json", true),
            ("/v0.1/x", true),
            ("/ipam/x", true),
            ("/extensions.xml", true),
            ("/v1/pools", false),
            ("/v0.10/x", false),
            ("/ipamx", false),
            ("/docs", false),
        ] {
            assert_eq!(is_ours(path), ours, "{path}");
        }
    }

    #[test]
    fn paths_lose_their_extension_and_get_a_version() {
        for (uri, path, format) in [
            (
                "/v0.1/ipam/tenants/a/ip_blocks.json?limit=2",
                "/v0.1/ipam/tenants/a/ip_blocks?limit=2",
                Format::Json,
            ),
            ("/ipam/tenants/a.b/ip_blocks.xml", "/v0.1/ipam/tenants/a.b/ip_blocks", Format::Xml),
            ("/v0.1/ipam/x/10.0.0.1", "/v0.1/ipam/x/10.0.0.1", Format::Json),
            ("/v0.1/ipam/x/10.0.0.1.xml", "/v0.1/ipam/x/10.0.0.1", Format::Xml),
            ("/.atom", "/", Format::Atom),
            ("/v0.1.xml", "/v0.1", Format::Xml),
            ("/v0.1", "/v0.1", Format::Json),
            ("/extensions.atom", "/extensions", Format::Json),
        ] {
            let request = Request::get(uri).body(Body::empty()).expect("request");
            let (request, wanted) = prepare(request).expect("prepared");
            assert_eq!((request.uri().to_string().as_str(), wanted.format), (path, format), "{uri}");
            assert_eq!(wanted.uri, uri);
        }
    }
}
