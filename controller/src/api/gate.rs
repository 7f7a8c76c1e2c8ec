//! What stands before each handler: who sends the request, and whether the route's rule lets it through.

use super::ApiError;
use super::request_id::RequestId;
use super::route::Rule;
use crate::auth::{Action, Authentication, Caller, Owner, Scope, allowed};
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use common::server::{ClientCertificate, Peer};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use tracing::Instrument;

/// The rule of one route, and how callers are known.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub(super) rule: Rule,
    pub(super) authentication: Authentication,
    /// How the route answers what it refuses.
    pub(super) refuse: fn(ApiError) -> Response,
}

/// Lets a request through, or refuses it before anything of it is done. A change, once begun, goes on to its end and to
/// its line in the audit log even if the client goes away.
pub(super) async fn admit(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    pass(&gate, request, next).await.unwrap_or_else(gate.refuse)
}

async fn pass(gate: &Gate, mut request: Request, next: Next) -> Result<Response, ApiError> {
    let Rule::Needs(action, scope) = gate.rule else { return Ok(next.run(request).await) };
    let caller = identify(&gate.authentication, &request)?;
    if !caller.may(action, &Owner::Cluster) {
        let owner = owner(scope, &mut request).await?;
        if !caller.may(action, &owner) {
            tracing::warn!(who = caller.name, from = %caller.peer, "forbidden");
            if matches!(owner, Owner::Tenant(_)) && caller.may(action, &Owner::AnyTenant) {
                return Err(ApiError::NotYours);
            }
            return Err(ApiError::Forbidden { roles: allowed(action, scope) });
        }
    }
    request.extensions_mut().insert(caller);
    if action == Action::Read {
        return Ok(next.run(request).await);
    }
    let change = tokio::spawn(next.run(request).in_current_span());
    change.await.map_err(|_| ApiError::Aborted)
}

fn identify(authentication: &Authentication, request: &Request) -> Result<Caller, ApiError> {
    let extensions = request.extensions();
    let peer = extensions.get::<ConnectInfo<Peer>>().map_or(Peer::Unknown, |ConnectInfo(peer)| *peer);
    let certificate = extensions.get::<ClientCertificate>();
    let id = extensions.get::<RequestId>().map_or_else(String::new, |RequestId(id)| id.clone());
    match authentication.identify(peer, request.headers(), certificate) {
        Ok((name, roles)) => Ok(Caller { name, peer, roles, request: id }),
        Err(reason) => {
            tracing::warn!(from = %peer, %reason, "unauthenticated");
            Err(reason.into())
        }
    }
}

/// To whom belongs what the request is about.
async fn owner(scope: Scope, request: &mut Request) -> Result<Owner, ApiError> {
    match scope {
        Scope::Cluster => Ok(Owner::Cluster),
        Scope::AnyTenant => Ok(Owner::AnyTenant),
        Scope::Namespace(name) => parameter(name, request).await.map(Owner::Namespace),
        Scope::Tenant(name) => parameter(name, request).await.map(Owner::Tenant),
        Scope::NamespaceInBody(field) => {
            let (parts, body) = std::mem::take(request).into_parts();
            let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await?;
            let found = text_field(&body, field);
            *request = Request::from_parts(parts, Body::from(body));
            let malformed = |error| ApiError::Malformed(format!("the body is invalid: {error}"));
            found.map(Owner::Namespace).map_err(malformed)
        }
    }
}

async fn parameter(name: &str, request: &mut Request) -> Result<String, ApiError> {
    use axum::RequestExt;
    let malformed = |reason: String| ApiError::Malformed(format!("the path is invalid: {reason}"));
    let parameters = request.extract_parts::<RawPathParams>().await;
    let parameters = parameters.map_err(|error| malformed(error.body_text()))?;
    let value = parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    value.ok_or_else(|| malformed(format!("there is no {name} in it")))
}

/// The one text that a field of a JSON object has. Were the field there twice, the handler might see the other one.
fn text_field(body: &[u8], field: &str) -> Result<String, serde_json::Error> {
    struct Field<'a>(&'a str);

    impl<'de> Visitor<'de> for Field<'_> {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<String, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<String>()? {
                if key != self.0 {
                    map.next_value::<IgnoredAny>()?;
                } else if found.replace(map.next_value()?).is_some() {
                    return Err(Error::custom(format!("duplicate field `{key}`")));
                }
            }
            found.ok_or_else(|| Error::custom(format!("missing field `{}`", self.0)))
        }
    }

    let mut json = serde_json::Deserializer::from_slice(body);
    let text = json.deserialize_map(Field(field))?;
    json.end().map(|()| text)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // A route without a rule that asks who it is has nobody.
        parts.extensions.get().cloned().ok_or(crate::auth::Unauthenticated::Anonymous.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::route::Route;
    use crate::api::{Context, request_id};
    use crate::auth::{NewToken, Tokens};
    use axum::Router;
    use axum::http::header;
    use common::store::embedded::Embedded;
    use std::sync::Arc;
    use tower::ServiceExt;

    /// Routes of each scope, and the tokens of somebody of the namespace `a` and of the tenant `a`.
    async fn scopes() -> (Router, [String; 2]) {
        let made = ["namespace:a", "tenant:a"]
            .map(|role| NewToken::make(&role[..6], role.parse().expect("role")).expect("made"));
        let tokens = Tokens::parse(&made.iter().map(NewToken::entry).collect::<String>()).expect("tokens");
        let (_, tokens) = tokio::sync::watch::channel(Arc::new(tokens));
        let store = Arc::new(Embedded::in_memory().await.expect("store"));
        let authentication = Authentication { tokens: Some(tokens), certificates: false };
        let context = Context::new(store, authentication);
        let echo = async |caller: Caller, body: String| format!("{caller}: {body}");
        let change = |scope| Rule::Needs(Action::Change, scope);
        let served = [
            Route::get("/n/{ns}/x", Rule::Needs(Action::Read, Scope::Namespace("ns")), echo),
            Route::put("/n/{ns}/x", change(Scope::Namespace("ns")), echo),
            Route::post("/n", change(Scope::NamespaceInBody("namespace")), echo),
            Route::delete("/t/{tenant}", change(Scope::Tenant("tenant")), echo),
            Route::delete("/n/{ns}", Rule::Needs(Action::Force, Scope::Namespace("ns")), echo),
            Route::get("/typo/{ns}", Rule::Needs(Action::Read, Scope::Namespace("namespace")), echo),
        ];
        let router = served.into_iter().fold(Router::new(), |router, route| route.serve(router, &context));
        let router = router.layer(axum::middleware::from_fn(request_id::give)).with_state(context);
        (router, made.map(|new| new.token))
    }

    #[tokio::test]
    async fn what_is_ones_own() {
        let (router, [namespace, tenant]) = scopes().await;
        let call = async |token: &str, method: &str, path: &str, body: &str| {
            let request = Request::builder().method(method).uri(path);
            let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            let peer = ConnectInfo(Peer::Tcp("192.0.2.1:1".parse().expect("address")));
            let request = request.extension(peer).body(Body::from(body.to_owned())).expect("request");
            let response = router.clone().oneshot(request).await.expect("infallible");
            let status = response.status();
            let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("body");
            (status.as_u16(), String::from_utf8(bytes.to_vec()).expect("text"))
        };
        let mine = r#"{"b":1,"namespace":"a"}"#;
        for (method, path, body) in [("GET", "/n/a/x", ""), ("PUT", "/n/%61/x", "b"), ("POST", "/n", mine)] {
            let answer = call(&namespace, method, path, body).await;
            assert_eq!(answer, (200, format!("token namesp: {body}")), "{method} {path}");
            assert_eq!(call(&tenant, method, path, body).await.0, 403, "{method} {path}");
        }
        assert_eq!(call(&tenant, "DELETE", "/t/a", "").await.0, 200);
        for (method, path, body, status) in [
            ("GET", "/n/b/x", "", 403),
            ("GET", "/n/a%2F/x", "", 403),
            ("GET", "/n/%FF/x", "", 400),
            ("PUT", "/n/A/x", "", 403),
            ("POST", "/n", r#"{"namespace":"b"}"#, 403),
            ("POST", "/n", r#"{"namespace":"a","namespace":"b"}"#, 400),
            ("POST", "/n", "{}", 400),
            ("POST", "/n", "", 400),
            ("DELETE", "/t/a", "", 403),
            ("DELETE", "/n/a", "", 403),
            ("GET", "/typo/a", "", 400),
        ] {
            let (got, text) = call(&namespace, method, path, body).await;
            assert_eq!(got, status, "{method} {path} {body}: {text}");
        }
    }

    #[test]
    fn a_field_has_one_value() {
        let field = |body: &str| text_field(body.as_bytes(), "ns").map_err(|error| error.to_string());
        assert_eq!(field(r#"{"a":[{"ns":"x"}],"ns":"y","b":null}"#), Ok("y".to_owned()));
        assert_eq!(field(r#"{"\u006es":"y"}"#), Ok("y".to_owned()));
        for (body, reason) in [
            ("", "EOF"),
            ("[]", "expected an object"),
            (r#"{"a":"y"}"#, "missing field `ns`"),
            (r#"{"ns":"x","ns":"y"}"#, "duplicate field `ns`"),
            (r#"{"ns":"x","\u006es":"y"}"#, "duplicate field `ns`"),
            (r#"{"ns":1}"#, "expected a string"),
            (r#"{"ns":"x"}{"ns":"y"}"#, "trailing characters"),
        ] {
            let error = field(body).expect_err(body);
            assert!(error.contains(reason), "{body}: {error}");
        }
    }
}
