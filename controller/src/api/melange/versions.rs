//! What there is of this API: its versions, and its extensions.

use super::describe::Failure;
use super::document::Reply;
use super::request::{Segments, Site};
use super::{Answer, OK};
use crate::api::route::{Route, Rule};
use crate::melange::{Kind, MelangeError};
use common::wire::melange::Link;
use serde::Serialize;
use utoipa::ToSchema;

/// When versions or extensions changed last.
pub(super) const UPDATED: &str = "2026-11-21T00:00:00Z";

/// A version of the API.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MelangeVersion)]
struct Version {
    /// `CURRENT`
    status: &'static str,
    /// What paths begin with.
    name: &'static str,
    /// Where it is.
    links: Vec<Link>,
}

/// An extension of the API.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MelangeExtension)]
struct Extension {
    /// By which it is asked for.
    alias: &'static str,
    /// What people call it.
    name: &'static str,
    /// Tells it from others in the world.
    namespace: &'static str,
    /// What it adds.
    description: &'static str,
    /// When it changed last.
    updated: &'static str,
    /// Where it is.
    links: Vec<Link>,
}

/// `versions`
#[derive(ToSchema)]
#[schema(as = MelangeVersions)]
#[expect(dead_code, reason = "it describes a body")]
struct Versions {
    versions: Vec<Version>,
}

/// `version`
#[derive(ToSchema)]
#[schema(as = MelangeVersionBody)]
#[expect(dead_code, reason = "it describes a body")]
struct VersionBody {
    version: Version,
}

/// `extensions`
#[derive(ToSchema)]
#[schema(as = MelangeExtensions)]
#[expect(dead_code, reason = "it describes a body")]
struct Extensions {
    extensions: Vec<Extension>,
}

/// `extension`
#[derive(ToSchema)]
#[schema(as = MelangeExtensionBody)]
#[expect(dead_code, reason = "it describes a body")]
struct ExtensionBody {
    extension: Extension,
}

pub(super) fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get("/", Rule::Public, versions)
            .summary("Lists the versions of the tenants' API; as Atom too")
            .answers::<Versions>(200, "the versions"),
        Route::get("/v0.1", Rule::Public, version)
            .summary("Shows the version of the tenants' API")
            .answers::<VersionBody>(200, "the version"),
    ];
    for (all, one) in
        [("/extensions", "/extensions/{alias}"), ("/v0.1/extensions", "/v0.1/extensions/{alias}")]
    {
        routes.push(
            Route::get(all, Rule::Public, extensions)
                .summary("Lists the extensions of the tenants' API")
                .answers::<Extensions>(200, "the extensions"),
        );
        let one = Route::get(one, Rule::Public, extension)
            .summary("Shows an extension of the tenants' API")
            .parameter::<String>("alias", "by which it is asked for")
            .answers::<ExtensionBody>(200, "the extension");
        routes.push(described_as_public(one));
    }
    routes
}

/// Its only failures are that there is no such thing, and a path that is no text.
fn described_as_public(route: Route) -> Route {
    let refuse = super::document::refuse;
    route
        .fails_as::<Failure>(400, "the path is malformed", refuse)
        .answers::<Failure>(404, "there is no such extension")
}

fn current(site: &Site) -> Version {
    let links = vec![Link { rel: "self".to_owned(), href: site.at("/v0.1") }];
    Version { status: "CURRENT", name: "v0.1", links }
}

async fn versions(site: Site) -> Answer {
    Ok(Reply::all(OK, "versions", &[current(&site)]))
}

async fn version(site: Site) -> Answer {
    Ok(Reply::one(OK, "version", &current(&site)))
}

fn usage(site: &Site) -> Extension {
    Extension {
        alias: "block-usage",
        name: "Block usage",
        namespace: "urn:coil:melange:block-usage",
        description: "GET …/ip_blocks/{id}/usage tells how many addresses of a block can be given, how many are \
                      taken and how many are free.",
        updated: UPDATED,
        links: vec![Link { rel: "self".to_owned(), href: site.at("/v0.1/extensions/block-usage") }],
    }
}

async fn extensions(site: Site) -> Answer {
    Ok(Reply::all(OK, "extensions", &[usage(&site)]))
}

async fn extension(site: Site, Segments(alias): Segments<String>) -> Answer {
    let usage = usage(&site);
    if alias == usage.alias {
        return Ok(Reply::one(OK, "extension", &usage));
    }
    Err(MelangeError::NotFound(Kind::Extension).into())
}
