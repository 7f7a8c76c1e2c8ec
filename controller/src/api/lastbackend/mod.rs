//! `/namespace…`: namespaces, and services that run in them (`docs/api/lastbackend.md`).
//!
//! * [`mod@namespaces`], [`mod@services`]: the handlers
//! * [`failure`]: every failure is `{"code", "status", "message"}`
//! * [`cors`]: pages of other sites may ask, if they have a token

mod cors;
mod failure;
mod namespaces;
mod services;

pub(super) use cors::allow;

use super::route::{CHANGE as CHANGE_CLUSTER, READ as READ_CLUSTER, Route, Rule};
use crate::auth::{Action, Scope};
use common::wire::lastbackend::{
    ActivityView, CreateNamespace, CreateService, Failure, NamespaceView, ServiceView, SpecBody,
    UpdateNamespace, UpdateService,
};

const READ: Rule = Rule::Needs(Action::Read, Scope::Namespace("namespace"));
const CHANGE: Rule = Rule::Needs(Action::Change, Scope::Namespace("namespace"));

const ALL: &str = "/namespace";
const NAMESPACE: &str = "/namespace/{namespace}";
const NAMESPACE_ACTIVITY: &str = "/namespace/{namespace}/activity";
const SERVICES: &str = "/namespace/{namespace}/service";
const SERVICE: &str = "/namespace/{namespace}/service/{service}";
const SERVICE_ACTIVITY: &str = "/namespace/{namespace}/service/{service}/activity";
const LOGS: &str = "/namespace/{namespace}/service/{service}/logs";
const SPECS: &str = "/namespace/{namespace}/service/{service}/spec";
const SPEC: &str = "/namespace/{namespace}/service/{service}/spec/{id}";
const PATHS: [&str; 9] =
    [ALL, NAMESPACE, NAMESPACE_ACTIVITY, SERVICES, SERVICE, SERVICE_ACTIVITY, LOGS, SPECS, SPEC];

/// All routes of this API.
pub(super) fn routes() -> Vec<Route> {
    let routes = [namespaces(), services(), specs()].into_iter().flatten().map(|route| {
        let route = route.fails_as::<Failure>(500, "the store failed", failure::refuse);
        let route = route.answers::<Failure>(401, "nobody is known to have sent the request");
        route.answers::<Failure>(403, "the caller's role may not do this")
    });
    let options = PATHS.into_iter().map(|path| {
        let route = Route::options(path, Rule::Public, cors::options);
        with_parameters(route, path).summary("Says what pages of other sites may ask").done("done")
    });
    routes.chain(options).collect()
}

fn namespaces() -> Vec<Route> {
    vec![
        Route::post(ALL, CHANGE_CLUSTER, namespaces::create)
            .summary("Makes a namespace")
            .takes::<CreateNamespace>()
            .answers::<NamespaceView>(200, "the namespace")
            .malformed()
            .refused(),
        Route::get(ALL, READ_CLUSTER, namespaces::list)
            .summary("Lists the namespaces by name")
            .answers_all::<NamespaceView>("the namespaces"),
        with_parameters(Route::get(NAMESPACE, READ, namespaces::show), NAMESPACE)
            .summary("Shows a namespace")
            .answers::<NamespaceView>(200, "the namespace")
            .unknown(),
        with_parameters(Route::put(NAMESPACE, CHANGE, namespaces::update), NAMESPACE)
            .summary("Changes a namespace")
            .takes::<UpdateNamespace>()
            .answers::<NamespaceView>(200, "the namespace")
            .malformed()
            .unknown()
            .refused(),
        with_parameters(Route::delete(NAMESPACE, CHANGE, namespaces::remove), NAMESPACE)
            .summary("Removes a namespace and its services; it stays until their pods are gone")
            .done("done")
            .unknown(),
        with_parameters(Route::get(NAMESPACE_ACTIVITY, READ, namespaces::activity), NAMESPACE_ACTIVITY)
            .summary("Lists what was done to a namespace, the last first")
            .answers_all::<ActivityView>("what was done")
            .unknown(),
    ]
}

fn services() -> Vec<Route> {
    vec![
        with_parameters(Route::post(SERVICES, CHANGE, services::create), SERVICES)
            .summary("Makes a service")
            .takes::<CreateService>()
            .answers::<ServiceView>(200, "the service")
            .malformed()
            .unknown()
            .refused(),
        with_parameters(Route::get(SERVICES, READ, services::list), SERVICES)
            .summary("Lists the services of a namespace by name")
            .answers_all::<ServiceView>("the services"),
        with_parameters(Route::get(SERVICE, READ, services::show), SERVICE)
            .summary("Shows a service, and what runs of it")
            .answers::<ServiceView>(200, "the service")
            .unknown(),
        with_parameters(Route::put(SERVICE, CHANGE, services::update), SERVICE)
            .summary("Changes a service")
            .takes::<UpdateService>()
            .answers::<ServiceView>(200, "the service")
            .malformed()
            .unknown()
            .refused(),
        with_parameters(Route::delete(SERVICE, CHANGE, services::remove), SERVICE)
            .summary("Removes a service; it stays until its pods are gone")
            .done("done")
            .unknown(),
        with_parameters(Route::get(SERVICE_ACTIVITY, READ, services::activity), SERVICE_ACTIVITY)
            .summary("Lists what was done to a service, the last first")
            .answers_all::<ActivityView>("what was done")
            .unknown(),
        with_parameters(Route::get(LOGS, READ, services::logs), LOGS)
            .summary("Sends the output of a container from its beginning, until it ends or the client leaves")
            .query::<String>("pod", "name of the pod; the first one if it is not given")
            .query::<String>("container", "id of the container; the first one of the pod if it is not given")
            .query::<bool>("follow", "false to end with what was written until now")
            .answers_with::<String>("application/octet-stream", "the output")
            .malformed()
            .unknown(),
    ]
}

fn specs() -> Vec<Route> {
    vec![
        with_parameters(Route::post(SPECS, CHANGE, services::add_spec), SPECS)
            .summary("Adds a container to the pods of a service")
            .takes::<SpecBody>()
            .answers::<ServiceView>(200, "the service")
            .malformed()
            .unknown()
            .refused(),
        with_parameters(Route::put(SPEC, CHANGE, services::update_spec), SPEC)
            .summary("Changes a container of the pods of a service; it gets another id")
            .takes::<SpecBody>()
            .answers::<ServiceView>(200, "the service")
            .malformed()
            .unknown()
            .refused(),
        with_parameters(Route::delete(SPEC, CHANGE, services::remove_spec), SPEC)
            .summary("Takes a container out of the pods of a service")
            .done("done")
            .unknown()
            .refused(),
    ]
}

fn with_parameters(route: Route, path: &str) -> Route {
    let known = [
        ("namespace", "the namespace"),
        ("service", "the service"),
        ("id", "id of the spec, as the service shows it"),
    ];
    known
        .into_iter()
        .filter(|(name, _)| path.contains(&format!("{{{name}}}")))
        .fold(route, |route, (name, text)| route.parameter::<String>(name, text))
}

/// Failures that several routes have.
trait Fails {
    fn malformed(self) -> Self;
    fn unknown(self) -> Self;
    fn refused(self) -> Self;
}

impl Fails for Route {
    fn malformed(self) -> Self {
        self.answers::<Failure>(400, "INCORRECT_JSON, or NAME_NOT_UNIQUE")
            .answers::<Failure>(413, "INCORRECT_JSON: it is too long")
    }

    fn unknown(self) -> Self {
        self.answers::<Failure>(404, "NAMESPACE_NOT_FOUND, SERVICE_NOT_FOUND, TEMPLATE_NOT_FOUND, SPEC_NOT_FOUND, POD_NOT_FOUND or CONTAINER_NOT_FOUND")
    }

    fn refused(self) -> Self {
        self.answers::<Failure>(406, "BAD_PARAMETER_ and the name of the field")
    }
}
