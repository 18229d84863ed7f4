/** The API's documentation. Belongs here: starting Swagger UI, which its page loads before this module. */
window.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
