/* Shows the OpenAPI document, where the viewer is part of this build. */
if (window.SwaggerUIBundle) {
  window.SwaggerUIBundle({
    url: '/openapi.json', domNode: document.getElementById('endpoints'), deepLinking: false, validatorUrl: null,
    presets: [window.SwaggerUIBundle.presets.apis], docExpansion: 'list', defaultModelsExpandDepth: 0,
    persistAuthorization: false, tryItOutEnabled: false
  });
}
