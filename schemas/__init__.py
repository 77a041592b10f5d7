"""The shapes of the API: one place that checks, describes and renders every body. Knows tms_ca.core and marshmallow."""
