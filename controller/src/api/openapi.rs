//! The description of the API: as OpenAPI, and as a page to read that needs no script and nothing from elsewhere.

mod page;

use super::route::{Route, Rule, failure};
use crate::auth::allowed;
use axum::Extension;
use axum::http::{Method, header};
use axum::response::{Html, IntoResponse};
use common::wire::admin::Failure;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, Operation, Paths};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};

/// The description, in both forms.
pub(super) struct Documents {
    json: String,
    html: String,
}

impl Documents {
    pub(super) fn of(routes: &[Route]) -> Arc<Self> {
        let api = describe(routes);
        let value = serde_json::to_value(&api).unwrap_or_default();
        Arc::new(Self { json: format!("{value:#}\n"), html: page::render(&value) })
    }
}

/// The routes that show the description.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/openapi.json", Rule::Public, json)
            .summary("This description, as OpenAPI")
            .answers_with::<serde_json::Value>("application/json", "an OpenAPI document"),
        Route::get("/docs", Rule::Public, html)
            .summary("This description, as a page to read")
            .answers_with::<String>("text/html; charset=utf-8", "a page"),
    ]
}

async fn json(Extension(documents): Extension<Arc<Documents>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], documents.json.clone())
}

async fn html(Extension(documents): Extension<Arc<Documents>>) -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(documents.html.clone()))
}

const ABOUT: &str = "Every reply has the request's id in x-request-id: the one that the request had there, if it was 1 \
                     to 64 letters, digits, '-', '_' or '.', else a new one. Every failure is a JSON object with the \
                     status and a text for people, where nothing else is said.";

/// The OpenAPI document of all routes.
pub fn describe(routes: &[Route]) -> OpenApi {
    let mut paths = Paths::new();
    let mut components =
        ComponentsBuilder::new().schema(Failure::name(), <Failure as utoipa::PartialSchema>::schema());
    for route in routes {
        paths.add_path_operation(route.path, vec![method(&route.method)], operation(route));
        components = components.schemas_from_iter(route.schemas.clone());
    }
    let token =
        Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("a token of the controller's file"));
    let certificate = SecurityScheme::MutualTls {
        description: Some("a client certificate with an organization `coil:ROLE`".to_owned()),
        deprecated: None,
        extensions: None,
    };
    let components = components
        .security_scheme("token", SecurityScheme::Http(token.build()))
        .security_scheme("certificate", certificate);
    let info = InfoBuilder::new()
        .title("coil-controller")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(utoipa::openapi::License::new("Apache-2.0")));
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).build()
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::DELETE => HttpMethod::Delete,
        Method::PATCH => HttpMethod::Patch,
        Method::OPTIONS => HttpMethod::Options,
        _ => HttpMethod::Get,
    }
}

/// A route's operation, with what all of its kind have.
fn operation(route: &Route) -> Operation {
    let mut operation = route.operation.clone();
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    operation.operation_id = Some(format!("{}_{}", route.method.as_str().to_lowercase(), words.join("_")));
    let mut common = vec![
        (408, "the request took too long"),
        (500, "the store holds something that this version does not understand, or refuses for good"),
    ];
    if !route.own_failures {
        common.push((503, "the store can't be reached, or too many changes were made at once; try again"));
        if operation.parameters.is_some() || operation.request_body.is_some() {
            common.push((400, "the body, path or query is malformed"));
        }
        if operation.request_body.is_some() {
            common.push((413, "the body is longer than 1 MiB"));
        }
    }
    if let Rule::Needs(action, scope) = route.rule {
        common.push((401, "nobody is known to have sent the request"));
        common.push((403, "the caller's role may not do this"));
        operation.description = Some(format!("Roles that may: {}.", allowed(action, scope)));
        let none = Vec::<String>::new();
        operation.security = Some(vec![
            SecurityRequirement::new("token", none.clone()),
            SecurityRequirement::new("certificate", none),
        ]);
    }
    for (status, text) in common {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_string()).or_insert_with(|| failure(text).into());
    }
    operation
}
