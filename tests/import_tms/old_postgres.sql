-- The TMS server 0.3: schema tms, truth values, times with a zone, ids counted by the database.
CREATE SCHEMA tms;
SET search_path TO tms;
CREATE TABLE tenants (id SERIAL PRIMARY KEY, tenant TEXT NOT NULL UNIQUE, enabled BOOLEAN NOT NULL,
  created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL);
CREATE TABLE clients (id SERIAL PRIMARY KEY, tenant TEXT, app_name TEXT NOT NULL, app_version TEXT NOT NULL,
  client_id TEXT NOT NULL, client_secret TEXT NOT NULL, enabled BOOLEAN NOT NULL,
  created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL, UNIQUE (tenant, app_name, app_version),
  FOREIGN KEY (tenant) REFERENCES tenants(tenant) ON UPDATE CASCADE ON DELETE RESTRICT);
CREATE UNIQUE INDEX clients_tenant_client_idx ON clients (tenant, client_id);
CREATE TABLE user_mfa (id SERIAL PRIMARY KEY, tenant TEXT, tms_user_id TEXT NOT NULL, expires_at TIMESTAMPTZ NOT NULL,
  enabled BOOLEAN NOT NULL, created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL, UNIQUE (tenant, tms_user_id),
  FOREIGN KEY (tenant) REFERENCES tenants(tenant) ON UPDATE CASCADE ON DELETE RESTRICT);
CREATE TABLE user_hosts (id SERIAL PRIMARY KEY, tenant TEXT, tms_user_id TEXT NOT NULL, host TEXT NOT NULL,
  host_account TEXT NOT NULL, expires_at TIMESTAMPTZ NOT NULL, created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL,
  UNIQUE (tenant, tms_user_id, host, host_account),
  FOREIGN KEY (tenant, tms_user_id) REFERENCES user_mfa(tenant, tms_user_id) ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE delegations (id SERIAL PRIMARY KEY, tenant TEXT, client_id TEXT NOT NULL, client_user_id TEXT NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL, created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL, UNIQUE (tenant, client_id, client_user_id),
  FOREIGN KEY (tenant, client_user_id) REFERENCES user_mfa(tenant, tms_user_id) ON UPDATE CASCADE ON DELETE CASCADE,
  FOREIGN KEY (tenant, client_id) REFERENCES clients(tenant, client_id) ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE pubkeys (id SERIAL PRIMARY KEY, tenant TEXT, client_id TEXT NOT NULL, client_user_id TEXT NOT NULL,
  host TEXT NOT NULL, host_account TEXT NOT NULL, public_key_fingerprint TEXT NOT NULL, public_key TEXT NOT NULL,
  key_type TEXT NOT NULL, key_bits INTEGER NOT NULL, max_uses INTEGER NOT NULL CHECK (max_uses >= 0),
  remaining_uses INTEGER NOT NULL CHECK (remaining_uses >= 0), initial_ttl_minutes INTEGER NOT NULL CHECK (initial_ttl_minutes >= 0),
  expires_at TIMESTAMPTZ NOT NULL, created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL, UNIQUE (public_key_fingerprint, host),
  FOREIGN KEY (tenant, client_user_id) REFERENCES user_mfa(tenant, tms_user_id) ON UPDATE CASCADE ON DELETE CASCADE,
  FOREIGN KEY (tenant, client_id) REFERENCES clients(tenant, client_id) ON UPDATE CASCADE ON DELETE CASCADE,
  FOREIGN KEY (tenant, client_user_id, host, host_account) REFERENCES user_hosts(tenant, tms_user_id, host, host_account)
    ON UPDATE CASCADE ON DELETE CASCADE,
  FOREIGN KEY (tenant, client_id, client_user_id) REFERENCES delegations(tenant, client_id, client_user_id)
    ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE reservations (id SERIAL PRIMARY KEY, resid TEXT NOT NULL UNIQUE, parent_resid TEXT NOT NULL, tenant TEXT,
  client_id TEXT NOT NULL, client_user_id TEXT NOT NULL, host TEXT NOT NULL, public_key_fingerprint TEXT NOT NULL,
  expires_at TIMESTAMPTZ NOT NULL, created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL,
  FOREIGN KEY (tenant, client_user_id) REFERENCES user_mfa(tenant, tms_user_id) ON UPDATE CASCADE ON DELETE CASCADE,
  FOREIGN KEY (tenant, client_id) REFERENCES clients(tenant, client_id) ON UPDATE CASCADE ON DELETE CASCADE,
  FOREIGN KEY (public_key_fingerprint, host) REFERENCES pubkeys(public_key_fingerprint, host) ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE admin (id SERIAL PRIMARY KEY, tenant TEXT, admin_user TEXT NOT NULL, admin_secret TEXT NOT NULL,
  privilege TEXT NOT NULL, created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL, UNIQUE (tenant, admin_user),
  FOREIGN KEY (tenant) REFERENCES tenants(tenant) ON UPDATE CASCADE ON DELETE RESTRICT);
CREATE TABLE hosts (id SERIAL PRIMARY KEY, tenant TEXT, host TEXT NOT NULL, addr TEXT NOT NULL,
  created TIMESTAMPTZ NOT NULL, updated TIMESTAMPTZ NOT NULL, UNIQUE (tenant, host, addr),
  FOREIGN KEY (tenant) REFERENCES tenants(tenant) ON UPDATE CASCADE ON DELETE RESTRICT);
