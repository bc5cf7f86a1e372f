//! The description of the API: `OpenAPI` 3.1 and a page to try it, which needs nothing from elsewhere.

use axum::Router;
use shared::wire::rest::Problem;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, Server};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::front::BasePath;
use crate::http::error::PROBLEM_JSON;

/// What is said before the calls.
pub fn preface() -> OpenApi {
    let mut components = Components::new();
    let user = ApiKey::Header(ApiKeyValue::with_description("X-User-Id", "Who is asking"));
    components.add_security_scheme("user", SecurityScheme::ApiKey(user));
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    let info = InfoBuilder::new()
        .title("Grapevine")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Upload a file once; every machine hears of it. Errors are RFC 9457 problem details."));
    OpenApiBuilder::new().info(info.build()).components(Some(components)).build()
}

/// Gives each error that a call lists its body, for they all have the same, and each call a name of its own; says where
/// the calls are.
pub fn finish(mut api: OpenApi, base_path: &BasePath) -> OpenApi {
    api.servers = Some(vec![Server::new(base_path.to_string())]);
    for operation in api.paths.paths.values_mut().flat_map(operations) {
        let area = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
        operation.operation_id = operation.operation_id.take().map(|name| format!("{area}_{name}"));
        for (status, response) in &mut operation.responses.responses {
            if let RefOr::T(response) = response
                && status.as_str() >= "400"
                && response.content.is_empty()
            {
                add_problem(response);
            }
        }
    }
    api
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.put, &mut path.post, &mut path.delete, &mut path.head].into_iter().flatten()
}

fn add_problem(response: &mut Response) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name()))).build();
    response.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(content));
}

/// `/openapi.json`, and `/docs` to read and try it.
pub fn pages<S: Clone + Send + Sync + 'static>(api: OpenApi) -> Router<S> {
    // From the page's own place, so that it is found wherever a proxy puts both.
    SwaggerUi::new("/docs").url("/openapi.json", api).config(Config::from("../openapi.json")).into()
}
