//! A route is one value: method, path, who may call it, its handler and its description. What is not in
//! [`super::routes`] is not served, and nothing can be served without a rule.

use super::gate::{Gate, admit};
use super::{ApiError, Context};
use crate::auth::{Action, Scope};
use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use common::wire::admin::List;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::openapi::{Content, Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everybody who reaches the port.
    Public,
    /// Whoever may do this to what belongs to that scope.
    Needs(Action, Scope),
}

/// Shows something of the whole cluster.
pub const READ: Rule = Rule::Needs(Action::Read, Scope::Cluster);
/// Changes something of the whole cluster.
pub const CHANGE: Rule = Rule::Needs(Action::Change, Scope::Cluster);
/// May take addresses away from containers that use them.
pub const FORCE: Rule = Rule::Needs(Action::Force, Scope::Cluster);

/// A route of the API.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// Who may call it.
    pub rule: Rule,
    pub(super) operation: Operation,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
    /// Whether failures are answered in a form of its own.
    pub(super) own_failures: bool,
    refuse: fn(ApiError) -> axum::response::Response,
    service: MethodRouter<Context>,
}

impl Route {
    /// `GET`, and with it `HEAD`.
    pub fn get<H: Handler<T, Context>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::new(Method::GET, path, rule, on(MethodFilter::GET, handler))
    }

    /// `POST`
    pub fn post<H: Handler<T, Context>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::new(Method::POST, path, rule, on(MethodFilter::POST, handler))
    }

    /// `PUT`
    pub fn put<H: Handler<T, Context>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::new(Method::PUT, path, rule, on(MethodFilter::PUT, handler))
    }

    /// `DELETE`
    pub fn delete<H: Handler<T, Context>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::new(Method::DELETE, path, rule, on(MethodFilter::DELETE, handler))
    }

    /// `OPTIONS`
    pub fn options<H: Handler<T, Context>, T: 'static>(path: &'static str, rule: Rule, handler: H) -> Self {
        Self::new(Method::OPTIONS, path, rule, on(MethodFilter::OPTIONS, handler))
    }

    fn new(method: Method, path: &'static str, rule: Rule, service: MethodRouter<Context>) -> Self {
        let refuse = IntoResponse::into_response;
        let (operation, schemas) = (Operation::new(), Vec::new());
        Self { method, path, rule, operation, schemas, own_failures: false, refuse, service }
    }

    /// What it does, in a line.
    #[must_use]
    pub fn summary(mut self, text: &str) -> Self {
        self.operation.summary = Some(text.to_owned());
        self
    }

    /// A parameter of the path.
    #[must_use]
    pub fn parameter<T: PartialSchema>(self, name: &str, text: &str) -> Self {
        self.add_parameter::<T>(ParameterIn::Path, Required::True, name, text)
    }

    /// A parameter of the query, which may be left out.
    #[must_use]
    pub fn query<T: PartialSchema>(self, name: &str, text: &str) -> Self {
        self.add_parameter::<T>(ParameterIn::Query, Required::False, name, text)
    }

    fn add_parameter<T: PartialSchema>(
        mut self,
        place: ParameterIn,
        required: Required,
        name: &str,
        text: &str,
    ) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        let parameter = parameter.description(Some(text)).schema(Some(T::schema())).build();
        self.operation.parameters.get_or_insert_default().push(parameter.into());
        self
    }

    /// The JSON body that it must be given.
    #[must_use]
    pub fn takes<T: ToSchema>(mut self) -> Self {
        let content = Content::new(Some(self.schema::<T>()));
        let body =
            RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
        self.operation.request_body = Some(body.build().into());
        self
    }

    /// A reply with a JSON body.
    #[must_use]
    pub fn answers<T: ToSchema>(mut self, status: u16, text: &str) -> Self {
        self.schema::<T>();
        self.respond(status, json(text, &T::name()))
    }

    /// A 200 without a body.
    #[must_use]
    pub fn done(self, text: &str) -> Self {
        self.respond(200, ResponseBuilder::new().description(text).build())
    }

    /// A 200 with a JSON array.
    #[must_use]
    pub fn answers_all<T: ToSchema>(mut self, text: &str) -> Self {
        let items = ArrayBuilder::new().items(self.schema::<T>());
        let content = Content::new(Some(RefOr::<Schema>::T(items.into())));
        self.respond(
            200,
            ResponseBuilder::new().description(text).content("application/json", content).build(),
        )
    }

    /// A 200 with a page of a list.
    #[must_use]
    pub fn lists<T: ToSchema>(mut self, text: &str) -> Self {
        self.schema::<T>();
        // By itself, the schema of each list would have the one name `List`.
        let name = format!("{}List", T::name());
        self.schemas.push((name.clone(), List::<T>::schema()));
        self.respond(200, json(text, &name))
    }

    /// A 200 with a body of another type.
    #[must_use]
    pub fn answers_with<T: PartialSchema>(self, media_type: &str, text: &str) -> Self {
        let content = Content::new(Some(T::schema()));
        let response = ResponseBuilder::new().description(text).content(media_type, content);
        self.respond(200, response.build())
    }

    /// Failures, with the reason. 400 (if there is anything that could be malformed), 401, 403, 408, 413, 500 and
    /// 503 need not be listed.
    #[must_use]
    pub fn fails(self, failures: &[(u16, &str)]) -> Self {
        failures.iter().fold(self, |route, (status, text)| route.respond(*status, failure(text)))
    }

    /// Failures that are all of one status with a body of this type, but for those of the controller itself (401, 403,
    /// 408 and 500). `refuse` answers what is refused before the handler is called.
    #[must_use]
    pub fn fails_as<T: ToSchema>(
        mut self,
        status: u16,
        text: &str,
        refuse: fn(ApiError) -> axum::response::Response,
    ) -> Self {
        self.own_failures = true;
        self.refuse = refuse;
        self.answers::<T>(status, text)
    }

    fn respond(mut self, status: u16, response: Response) -> Self {
        self.operation.responses.responses.insert(status.to_string(), response.into());
        self
    }

    /// The part of the description that it belongs to.
    pub(super) fn tag(mut self, tag: &str) -> Self {
        self.operation.tags = Some(vec![tag.to_owned()]);
        self
    }

    /// Where the schema of a type will be, if it has a name.
    fn schema<T: ToSchema>(&mut self) -> RefOr<Schema> {
        T::schemas(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), T::schema()));
        RefOr::Ref(Ref::from_schema_name(T::name()))
    }

    /// Adds it to a router, behind its rule.
    pub(super) fn serve(self, router: Router<Context>, context: &Context) -> Router<Context> {
        let gate =
            Gate { rule: self.rule, authentication: context.authentication.clone(), refuse: self.refuse };
        router.route(self.path, self.service.route_layer(from_fn_with_state(gate, admit)))
    }
}

/// A failure as all of them are.
pub(super) fn failure(text: &str) -> Response {
    json(text, "Failure")
}

/// A reply whose JSON body has the schema of that name.
fn json(text: &str, schema: &str) -> Response {
    let content = Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name(schema))));
    ResponseBuilder::new().description(text).content("application/json", content).build()
}
