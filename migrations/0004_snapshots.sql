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

-- Counts the drops of snapshots.
create sequence evsrc.snapshot_drop_count as bigint;

create function evsrc.snapshot_drops() returns bigint language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(pg_sequence_last_value('evsrc.snapshot_drop_count'), 0)
$$;

-- Writes a snapshot, unless there is one of the same or a later version.
--   p_older_than  the snapshots of the stream under other fingerprints that are older are removed
--   p_drops       null, or the number of drops before the snapshot was taken: after another drop nothing is written
create function evsrc.write_snapshot(
  p_stream text, p_fingerprint text, p_version bigint, p_position bigint, p_event_id uuid, p_state text, p_taken_at timestamptz,
  p_signature text, p_older_than timestamptz, p_drops bigint
) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if p_drops is not null then
    -- A drop waits for this transaction, and then sees its snapshot; or this one sees the drop.
    perform pg_advisory_xact_lock_shared('evsrc.snapshots'::regclass::oid::integer, 0);
    if evsrc.snapshot_drops() <> p_drops then
      return;
    end if;
  end if;
  delete from evsrc.snapshots stored
    where stored.stream = p_stream and stored.fingerprint <> p_fingerprint and stored.taken_at < p_older_than;
  insert into evsrc.snapshots as stored (stream, fingerprint, version, position, event_id, state, taken_at, signature)
    values (p_stream, p_fingerprint, p_version, p_position, p_event_id, p_state, p_taken_at, p_signature)
    on conflict (stream, fingerprint) do update set version = excluded.version, position = excluded.position,
      event_id = excluded.event_id, state = excluded.state, taken_at = excluded.taken_at, signature = excluded.signature
      where stored.version < excluded.version;
end $$;

-- Removes all snapshots of streams, and returns how many there were.
create function evsrc.drop_snapshots(p_streams text[]) returns integer language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  dropped integer;
begin
  perform pg_advisory_xact_lock('evsrc.snapshots'::regclass::oid::integer, 0);
  perform nextval('evsrc.snapshot_drop_count');
  delete from evsrc.snapshots stored where stored.stream = any (p_streams);
  get diagnostics dropped = row_count;
  return dropped;
end $$;

insert into evsrc.migrations (migration_id, name) values (4, '0004_snapshots') on conflict do nothing;
