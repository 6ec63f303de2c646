//! The OpenAPI 3.1 document, generated from the table of endpoints.

mod operation;
mod problems;

use utoipa::openapi::path::{PathItem, PathsBuilder};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, OpenApiVersion,
};

use crate::endpoints::{self, EndpointGroup, Method};
use crate::header::PURCHASE_PASS;
use crate::problem::Code;

const BUYER: &str = "buyer";
const OPERATOR: &str = "operator";
const PASS: &str = "pass";

/// The document that `GET /openapi.json` returns, for this version of the program.
#[must_use]
pub fn openapi(version: &str) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Doorbuster")
        .version(version)
        .description(Some(description()))
        .license(Some(
            LicenseBuilder::new()
                .name("MIT OR Apache-2.0")
                .identifier(Some("MIT OR Apache-2.0"))
                .build(),
        ));
    OpenApiBuilder::new()
        .openapi(OpenApiVersion::Version31)
        .info(info)
        .paths(paths())
        .components(Some(components()))
        .tags(Some([
            tag(EndpointGroup::Buying, "Endpoints for buyers."),
            tag(EndpointGroup::Operating, "Endpoints for operators."),
            tag(EndpointGroup::Service, "Endpoints for load balancers, monitoring and developers."),
        ]))
        .build()
}

fn description() -> String {
    let mut text = String::from(
        "A flash-sale engine. The server never sells more units than there are, and never loses an \
         order that it confirmed as `reserved`.\n\n\
         Every address that supports `GET` also supports `HEAD`. Times are RFC 3339 in UTC with \
         milliseconds. Amounts of money are in minor units. New versions may add members to \
         responses. The server refuses unknown members of request bodies.\n\n\
         Every response that is not a success is an RFC 9457 problem with a stable `code`:\n\n\
         | status | code | means |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        text.push_str(&format!("| {} | `{}` | {} |\n", code.status(), code.as_str(), code.title()));
    }
    text
}

fn tag(group: EndpointGroup, description: &str) -> utoipa::openapi::Tag {
    TagBuilder::new().name(group.as_str()).description(Some(description)).build()
}

fn paths() -> PathsBuilder {
    endpoints::all().fold(PathsBuilder::new(), |paths, endpoint| {
        let method = match endpoint.method {
            Method::Get => utoipa::openapi::HttpMethod::Get,
            Method::Post => utoipa::openapi::HttpMethod::Post,
            Method::Put => utoipa::openapi::HttpMethod::Put,
            Method::Patch => utoipa::openapi::HttpMethod::Patch,
            Method::Delete => utoipa::openapi::HttpMethod::Delete,
        };
        paths.path(endpoint.path, PathItem::new(method, operation::operation(endpoint)))
    })
}

fn components() -> utoipa::openapi::Components {
    let mut schemas = Vec::new();
    for endpoint in endpoints::all() {
        let bodies = endpoint.body.iter().map(|body| body.json_type);
        let responses = endpoint.responses.iter().filter_map(|answer| answer.content.json_type());
        bodies.chain(responses).for_each(|json_type| json_type.collect(&mut schemas));
    }
    schemas.extend(problems::schemas());
    ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .responses_from_iter(problems::responses())
        .security_scheme(BUYER, bearer(Some("JWT"), "The shop's token for a buyer."))
        .security_scheme(
            OPERATOR,
            bearer(None, "An operator's key. The key's role decides what the operator may do."),
        )
        .security_scheme(
            PASS,
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
                PURCHASE_PASS,
                "A purchase pass, which names its buyer.",
            ))),
        )
        .build()
}

fn bearer(format: Option<&str>, description: &str) -> SecurityScheme {
    let http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
    SecurityScheme::Http(match format {
        Some(format) => http.bearer_format(format).build(),
        None => http.build(),
    })
}

#[cfg(test)]
mod tests;
