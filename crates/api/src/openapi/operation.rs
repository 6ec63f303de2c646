//! One endpoint as an OpenAPI operation.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::{Response, ResponseBuilder, Responses, ResponsesBuilder};
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content as MediaType, ContentBuilder, Header, Ref, Required, Type};

use super::{BUYER, OPERATOR, PASS, problems};
use crate::endpoints::{
    Auth, Body, Content, Endpoint, JsonType, Param, ParamLocation, ResponseHeader, SuccessResponse,
};

pub(super) fn operation(endpoint: &Endpoint) -> Operation {
    let parameters: Vec<Parameter> =
        endpoint.path_params().chain(endpoint.params.iter().copied()).map(parameter).collect();
    let operation = OperationBuilder::new()
        .operation_id(Some(endpoint.id))
        .tag(endpoint.group.as_str())
        .summary(Some(endpoint.summary))
        .description(description(endpoint))
        .parameters((!parameters.is_empty()).then_some(parameters))
        .request_body(endpoint.body.map(|body| request_body(body, endpoint.may_lack_body)))
        .responses(responses(endpoint));
    let ways: &[&str] = match endpoint.auth {
        Auth::Public => &[],
        // A pass contains its buyer's id, so a purchase with a pass needs no token.
        Auth::Buyer if endpoint.id == "purchase" => &[BUYER, PASS],
        Auth::Buyer => &[BUYER],
        Auth::BuyerOrOperator => &[BUYER, OPERATOR],
        Auth::Operator(_) => &[OPERATOR],
    };
    let no_scopes = std::iter::empty::<String>;
    ways.iter()
        .fold(operation, |operation, way| {
            operation.security(SecurityRequirement::new(*way, no_scopes()))
        })
        .build()
}

fn description(endpoint: &Endpoint) -> Option<String> {
    let mut text = endpoint.description.to_owned();
    if let Auth::Operator(role) = endpoint.auth {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&format!("Role: `{}`.", role.as_str()));
    }
    (!text.is_empty()).then_some(text)
}

fn parameter(param: Param) -> Parameter {
    let place = match param.location() {
        ParamLocation::Path => ParameterIn::Path,
        ParamLocation::Query => ParameterIn::Query,
        ParamLocation::Header => ParameterIn::Header,
    };
    ParameterBuilder::new()
        .name(param.name())
        .parameter_in(place)
        .required(if param.is_required() { Required::True } else { Required::False })
        .description(Some(param.description()))
        .schema(Some(param.schema()))
        .example(Some(param.example()))
        .build()
}

fn request_body(body: Body, may_lack: bool) -> RequestBody {
    let required = if may_lack { Required::False } else { Required::True };
    let builder = RequestBodyBuilder::new().required(Some(required));
    body.media
        .media_types()
        .iter()
        .fold(builder, |builder, media| builder.content(*media, media_type(body.json_type)))
        .build()
}

/// Returns a reference to the type's schema, with the first example in this schema.
fn media_type(json_type: JsonType) -> MediaType {
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(json_type.name().into_owned())))
        .example(json_type.example())
        .build()
}

fn responses(endpoint: &Endpoint) -> Responses {
    let success =
        endpoint.responses.iter().map(|answer| (answer.status.to_string(), response(answer)));
    let problems = problems::responses_for(&endpoint.problem_codes());
    ResponsesBuilder::new().responses_from_iter(success).responses_from_iter(problems).build()
}

fn response(answer: &SuccessResponse) -> Response {
    let builder = answer
        .headers
        .iter()
        .fold(ResponseBuilder::new().description(answer.description), |response, named| {
            response.header(named.name(), header(*named))
        });
    match (answer.content.media_type(), answer.content) {
        (Some(media), Content::Json(json_type)) => builder.content(media, media_type(json_type)),
        (Some(media), Content::OpenApi) => {
            builder.content(media, MediaType::new(Some(ObjectBuilder::new())))
        }
        (Some(media), content) => builder.content(media, text(content)),
        (None, _) => builder,
    }
    .build()
}

fn text(content: Content) -> MediaType {
    let example = match content {
        Content::Csv(header) => Some(format!("{header}\r\n")),
        Content::Events(_) => Some(
            "id: 1\ndata: {\"type\":\"hello\",\"server_time\":\"2026-11-20T10:00:00.000Z\"}\n\n"
                .to_owned(),
        ),
        _ => None,
    };
    let schema = ObjectBuilder::new().schema_type(Type::String);
    ContentBuilder::new().schema(Some(schema)).example(example.map(Into::into)).build()
}

pub(super) fn header(named: ResponseHeader) -> Header {
    HeaderBuilder::new().schema(Some(named.schema())).description(Some(named.description())).build()
}
