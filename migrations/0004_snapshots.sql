-- Snapshots of the states of aggregate instances. A snapshot that is lost only costs a longer fold.

create table evsrc.snapshots (
  stream text collate "C" not null,
  -- Covers all that the state depends on except the events. Code with another fingerprint reads another row, or none.
  fingerprint text collate "C" not null,
  -- The version, position and id of the last event in the state.
  version bigint not null check (version between 1 and 9007199254740991),
  position bigint not null check (position between 0 and 17592186044415),
  event_id uuid not null,
  -- JSON as text: the database does not parse it.
  state text not null,
  -- Whole milliseconds, and years that every client has: one can read each row, and remove it by its values.
  taken_at timestamptz(3) not null check (taken_at between '0001-01-01 00:00:00+00' and '9999-12-31 00:00:00+00'),
  -- HMAC-SHA-256 of the other columns but taken_at, by the keys of the programs; null without keys.
  signature text,
  primary key (stream, fingerprint)
);

insert into evsrc.migrations (migration_id, name) values (4, '0004_snapshots') on conflict do nothing;
