-- The event log. PgMigrations runs this file; psql can run it too. To use another schema name, replace `evsrc` wherever a
-- dot or a semicolon follows it.

-- Stored hashes of tags depend on the encoding of the database. The schema is created in the same statement as the check:
-- psql continues after an error, and without the schema every later statement fails too.
do $$ begin
  if current_setting('server_version_num')::integer < 140000 then
    raise exception 'the event store needs PostgreSQL 14 or later, but this is %', current_setting('server_version')
      using errcode = 'EV001', hint = 'Upgrade the server.';
  end if;
  if current_setting('server_encoding') <> 'UTF8' then
    raise exception 'the event store needs a database with encoding UTF8, but % has %',
      current_database(), current_setting('server_encoding')
      using errcode = 'EV001', hint = 'Create a database with: CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0.';
  end if;
  create schema if not exists evsrc;
end $$;

-- The migrations that have run. Each file adds its own row.
create table if not exists evsrc.migrations (
  migration_id integer primary key,
  created_at timestamptz not null default now(),
  name text not null,
  -- Of the text of the file. Null if the file was run by hand.
  checksum text
);
-- PgMigrations creates the table before it runs this file, without the column.
alter table evsrc.migrations add column if not exists checksum text;

-- A hash as this server computed it. Stores compare it when they start: after a restore into a database with another encoding, or on a
-- server with another hash function, it differs, and so do all stored hashes.
create table evsrc.hash_check (
  one boolean primary key default true check (one),
  -- Some text whose bytes depend on the encoding.
  sample text not null,
  hash bigint not null
);
insert into evsrc.hash_check (sample, hash)
  select sample, hashtextextended(sample, 0) from (values ('evsrc ' || chr(233) || chr(252))) as text(sample);

-- Only append and append_one draw positions, one at a time (cache 1), after they have locked the in-flight low-water mark.
-- This file uses up the first value, so that the sequence always has a last value and no event has position 0.
-- In-flight low-water marks have 44 bits.
create sequence evsrc.positions as bigint minvalue 0 maxvalue 17592186044415 start 0 cache 1;
do $$ begin perform nextval('evsrc.positions'); end $$;

-- A function, because every insert parses and compiles the expressions of its table's constraints again, which took a tenth of the server's time of an append.
create function evsrc.are_valid_tags(p_tags text[]) returns boolean language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (array_ndims(p_tags) = 1 and array_lower(p_tags, 1) = 1 and array_position(p_tags, null) is null
    and array_position(p_tags, '') is null) is true;
end $$;

create table evsrc.events (
  position bigint primary key,
  stream text collate "C" not null,
  version bigint not null,
  type text collate "C" not null,
  schema_version integer not null,
  id uuid not null,
  -- Set only on the first event of an append: the command id, and the number of events that the command appended.
  command_id text collate "C",
  command_events integer,
  -- json, not jsonb: it stores the text byte for byte, and accepts every string that JSON allows (\u0000 too).
  data json not null,
  metadata json not null,
  recorded_at timestamptz not null,
  -- Null for an event without tags.
  tags text[] collate "C",
  -- The event's hash in the hash chain of its stream; null where the event is not chained.
  hash bytea,
  -- True on the last event of a closed stream, else null. An append reads it together with the version.
  closes boolean,
  constraint events_stream_version unique (stream, version),
  constraint events_tags_valid check (tags is null or evsrc.are_valid_tags(tags))
);

create unique index events_command on evsrc.events (command_id) where command_id is not null;

-- Finds events by tag. It stores a hash of the tag to keep the index small; events.tags has the text.
create table evsrc.event_tags (
  tag_hash bigint not null,
  position bigint not null,
  primary key (tag_hash, position)
);

create function evsrc.reject_change() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'events are immutable: % on %.% is not allowed', tg_op, tg_table_schema, tg_table_name
    using errcode = 'restrict_violation', hint = 'Append a new event that corrects the old one.';
end $$;

-- Rejects a write that is not one of the functions append, append_one, restore, archive and rebuild_event_tags. It recognizes these in two
-- ways. They run as the owner of the tables, who alone has every privilege with grant option; all other roles, whatever they set, are
-- rejected. And they have a search_path with pg_catalog twice, so that the owner does not insert rows by accident.
--
-- It is the one function without a search_path of its own, because it looks at that of its caller. So it names every function and operator
-- with its schema. The test stands in the function, because each statement parses and compiles the condition of a trigger again, which
-- took a tenth of the server's time of an append.
create function evsrc.reject_direct_write() returns trigger language plpgsql
as $$
begin
  if pg_catalog.replace(pg_catalog.current_setting('search_path'), '"', '') operator(pg_catalog.=) 'pg_catalog, pg_temp, pg_catalog'
    and pg_catalog.has_table_privilege(tg_relid, 'TRIGGER WITH GRANT OPTION')
  then
    return null;
  end if;
  raise exception 'only the functions of the event store write %.%: % is not allowed', tg_table_schema, tg_table_name, tg_op
    using errcode = 'restrict_violation',
      hint = 'Call append, append_one, restore or archive. Restore rows with triggers disabled, as pg_restore --disable-triggers does.';
end $$;

create trigger events_written_by_functions before insert on evsrc.events for each statement
  execute function evsrc.reject_direct_write();

create trigger events_immutable before update or truncate on evsrc.events
  for each statement execute function evsrc.reject_change();

create trigger event_tags_immutable before update or delete or truncate on evsrc.event_tags
  for each statement execute function evsrc.reject_change();

create trigger event_tags_written_by_functions before insert on evsrc.event_tags for each statement
  execute function evsrc.reject_direct_write();

-- The streams that take no more events.
create table evsrc.closed_streams (
  stream text collate "C" primary key,
  -- The version and position of the stream's last event, which closed it.
  version bigint not null,
  "position" bigint not null unique,
  closed_at timestamptz not null,
  -- Null while the stream's events are in evsrc.events.
  archived_at timestamptz
);

-- Allows one change only: archived_at, once. Appends rely on it, because they look up the version nowhere else.
create function evsrc.protect_closed_stream() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if tg_op <> 'UPDATE' or old.archived_at is not null
    or (new.stream, new.version, new."position", new.closed_at) is distinct from (old.stream, old.version, old."position", old.closed_at)
  then
    raise exception 'closed streams stay closed: % on %.% is not allowed', tg_op, tg_table_schema, tg_table_name
      using errcode = 'restrict_violation';
  end if;
  return new;
end $$;

create trigger closed_streams_written_by_functions before insert or update on evsrc.closed_streams for each statement
  execute function evsrc.reject_direct_write();

create trigger closed_streams_protected before update or delete on evsrc.closed_streams
  for each row execute function evsrc.protect_closed_stream();

create trigger closed_streams_immutable before truncate on evsrc.closed_streams
  for each statement execute function evsrc.reject_change();

-- The events of archived streams. They are as immutable as all others, and appends do not read past them.
create table evsrc.archived_events (like evsrc.events including all);

create trigger archived_events_written_by_functions before insert on evsrc.archived_events for each statement
  execute function evsrc.reject_direct_write();

create trigger archived_events_immutable before update or delete or truncate on evsrc.archived_events
  for each statement execute function evsrc.reject_change();

-- The whole log: each event is in exactly one of the two tables.
create view evsrc.log as
  select position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at, tags, hash, closes
    from evsrc.events
  union all
  select position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at, tags, hash, closes
    from evsrc.archived_events;

-- Allows a delete from evsrc.events only if evsrc.archived_events has the same row byte for byte, and the stream is archived.
create function evsrc.reject_unarchived_delete() returns trigger language plpgsql
-- One index lookup per row, because the planner does not know how many rows there are. For the same reason the lookups are
-- scalar subqueries: PostgreSQL may plan EXISTS as a hash of the whole table.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select from deleted
      where (
          select true from evsrc.archived_events archived
            where archived."position" = deleted."position" and archived::text = deleted::text limit 1
        ) is not true
        or (
          select true from evsrc.closed_streams closed
            where closed.stream = deleted.stream and closed.archived_at is not null limit 1
        ) is not true
  ) then
    raise exception 'events are immutable: % on %.% is not allowed', tg_op, tg_table_schema, tg_table_name
      using errcode = 'restrict_violation', hint = 'Append a new event that corrects the old one.';
  end if;
  return null;
end $$;

create trigger events_deleted_only_by_archive after delete on evsrc.events
  referencing old table as deleted for each statement execute function evsrc.reject_unarchived_delete();

-- Rejects an archived event that archive has not moved: whose stream is not archived or ended before it, of whose stream
-- evsrc.events still has an event, or whose position or command id an event there has.
create function evsrc.reject_unmoved_event() returns trigger language plpgsql
-- As in reject_unarchived_delete.
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select from inserted
      where inserted.version < 1
        or (
          select true from evsrc.closed_streams closed
            where closed.stream = inserted.stream and closed.archived_at is not null
              and inserted.version <= closed.version and inserted."position" <= closed."position"
        ) is not true
        or (select true from evsrc.events event where event.stream = inserted.stream limit 1)
        or (select true from evsrc.events event where event."position" = inserted."position" limit 1)
        or (select true from evsrc.events event where event.command_id = inserted.command_id limit 1)
  ) then
    raise exception 'an event is either in the log or archived: % on %.% is not allowed', tg_op, tg_table_schema, tg_table_name
      using errcode = 'restrict_violation', hint = 'Archive a stream only with the function archive.';
  end if;
  return null;
end $$;

create trigger archived_events_unique after insert on evsrc.archived_events
  referencing new table as inserted for each statement execute function evsrc.reject_unmoved_event();

-- The order of positions and the high-water mark are sound only under READ COMMITTED on a primary server.
create function evsrc.require_read_committed() returns void language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'the event store needs transaction isolation READ COMMITTED, not %',
      upper(current_setting('transaction_isolation')) using errcode = 'EV001';
  end if;
  if pg_is_in_recovery() then
    raise exception 'the event store needs the primary server, this is a standby' using errcode = 'EV001';
  end if;
end $$;

-- One item of an event query. An event matches an item if it has one of the types (any type, if types is empty) and all of the
-- tags. An event matches a query if it matches one of its items. Each item names at least one type or tag.
create type evsrc.query_item as (types text[], tags text[]);

-- Returns the items of a query, which clients send as pairs of arrays.
--   p_item_count            number of items; they are numbered from 1
--   p_type_items, p_types   pairs: the number of an item, and one of its types
--   p_tag_items, p_tags     pairs: the number of an item, and one of its tags
create function evsrc.query_items(p_item_count integer, p_type_items integer[], p_types text[], p_tag_items integer[], p_tags text[])
returns evsrc.query_item[] language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select array_agg(row(
      array(
        select pair.type from unnest(p_type_items, p_types) with ordinality as pair(item, type, ordinal)
          where pair.item = item_number order by pair.ordinal
      ),
      array(
        select pair.tag from unnest(p_tag_items, p_tags) with ordinality as pair(item, tag, ordinal)
          where pair.item = item_number order by pair.ordinal
      )
    )::evsrc.query_item order by item_number)
    from generate_series(1, p_item_count) as item_number
$$;

-- Returns for each item the position of the newest event that matches it, is after its element of p_afters, and is not known; null if there
-- is none.
--   p_seen  the positions of known events, as the text of an array, or null
--   p_sent  the ids of known events, as the text of an array, or null
create function evsrc.newest_matches(p_items evsrc.query_item[], p_afters bigint[], p_seen text[], p_sent text[])
returns bigint[] language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  newest bigint[];
  item_number integer;
begin
  -- One statement for all items of which no match is known.
  select array_agg(match.position order by item.ordinal) into newest
    from unnest(p_items, p_afters, p_seen, p_sent) with ordinality as item(types, tags, after, seen, sent, ordinal)
      left join lateral (
        select tagged.position
          from evsrc.event_tags tagged join evsrc.log event on event.position = tagged.position
          where item.seen is null and item.sent is null
            and tagged.tag_hash = hashtextextended(item.tags[1], 0) and tagged.position > item.after
            and event.tags @> item.tags and (cardinality(item.types) = 0 or event.type = any (item.types))
          order by tagged.position desc limit 1
      ) as match on true;
  for item_number in 1 .. cardinality(p_items) loop
    -- The known matches are sets, which are hashed once. An array would be searched for every match, in a time that grows with the square.
    if cardinality(p_items[item_number].tags) = 0 then
      newest[item_number] := (
        select event.position
          from evsrc.log event
          where event.position > p_afters[item_number] and event.position not in (select unnest(p_seen[item_number]::bigint[]))
            and (cardinality(p_items[item_number].types) = 0 or event.type = any (p_items[item_number].types))
            and event.id not in (select unnest(p_sent[item_number]::uuid[]))
          order by event.position desc limit 1
      );
    elsif p_seen[item_number] is not null or p_sent[item_number] is not null then
      newest[item_number] := (
        select tagged.position
          from evsrc.event_tags tagged join evsrc.log event on event.position = tagged.position
          where tagged.tag_hash = hashtextextended(p_items[item_number].tags[1], 0) and tagged.position > p_afters[item_number]
            and tagged.position not in (select unnest(p_seen[item_number]::bigint[]))
            and event.tags @> p_items[item_number].tags
            and (cardinality(p_items[item_number].types) = 0 or event.type = any (p_items[item_number].types))
            and event.id not in (select unnest(p_sent[item_number]::uuid[]))
          order by tagged.position desc limit 1
      );
    end if;
  end loop;
  return newest;
end $$;

-- Returns the ids of the events that match an item and are after a position, in the order of the log.
create function evsrc.matches_after(p_item evsrc.query_item, p_after bigint)
returns uuid[] language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if cardinality(p_item.tags) = 0 then
    return array(
      select event.id from evsrc.log event
        where event.position > p_after and (cardinality(p_item.types) = 0 or event.type = any (p_item.types))
        order by event.position
    );
  end if;
  return array(
    select event.id
      from evsrc.event_tags tagged join evsrc.log event on event.position = tagged.position
      where tagged.tag_hash = hashtextextended(p_item.tags[1], 0) and tagged.position > p_after
        and event.tags @> p_item.tags and (cardinality(p_item.types) = 0 or event.type = any (p_item.types))
      order by tagged.position
  );
end $$;

-- Returns the keys of the types and tags of an append: shared for each type and tag that it writes, exclusive for one key of each item
-- of its condition (the first tag, or else each of the types). An append that could break the condition has then either committed, or
-- waits. Each key comes once, in its strongest mode, and in one order for all callers.
create function evsrc.condition_keys(p_types text[], p_tags text[], p_items evsrc.query_item[])
returns table (key integer, exclusive boolean) language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select hashtext(name) as key, bool_or(exclusive) as exclusive
    from (
      select 'y' || type as name, false as exclusive from unnest(p_types) as type
      union all
      select 't' || tag, false from unnest(p_tags) as event_tags, unnest(event_tags::text[]) as tag
      union all
      select 't' || item.tags[1], true from unnest(p_items) as item where cardinality(item.tags) > 0
      union all
      select 'y' || type, true from unnest(p_items) as item, unnest(item.types) as type where cardinality(item.tags) = 0
    ) as names
    group by 1
    order by 1
$$;

-- Returns until when a transaction that takes several locks waits for all of them: the lock_timeout from now on; null if there is none.
create function evsrc.end_of_lock_wait() returns timestamptz language sql volatile
return clock_timestamp() + nullif(current_setting('lock_timeout')::interval, interval '0');

-- Takes a lock until the transaction ends, and waits for it until p_end, for which it changes the lock_timeout. PostgreSQL applies that setting to
-- each lock by itself.
create function evsrc.wait_for_lock(p_class integer, p_key integer, p_exclusive boolean, p_end timestamptz)
returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if (case when p_exclusive then pg_try_advisory_xact_lock(p_class, p_key) else pg_try_advisory_xact_lock_shared(p_class, p_key) end) then
    return;
  end if;
  if p_end is not null then
    perform set_config('lock_timeout', greatest(1, ceil(extract(epoch from p_end - clock_timestamp()) * 1000))::integer::text, true);
  end if;
  if p_exclusive then
    perform pg_advisory_xact_lock(p_class, p_key);
  else
    perform pg_advisory_xact_lock_shared(p_class, p_key);
  end if;
end $$;

-- Locks the types and tags of an append, as `wait_for_lock` does.
create function evsrc.lock_condition_keys(p_types text[], p_tags text[], p_items evsrc.query_item[], p_end timestamptz)
returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform evsrc.wait_for_lock('evsrc.event_tags'::regclass::oid::integer, key, exclusive, p_end)
    from evsrc.condition_keys(p_types, p_tags, p_items);
end $$;

-- Locks the types and tags of appends without waiting. Returns the keys that other transactions hold so that they cannot be shared, and
-- those that they hold in any way, of the keys that a condition needs for itself. A condition may share the other keys with the appends
-- beside it, because its own transaction has them all.
create function evsrc.try_lock_condition_keys(
  p_types text[], p_tags text[], p_items evsrc.query_item[], out held_keys integer[], out held_exclusive_keys integer[]
) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  select array_agg(key) filter (where not shared), array_agg(key) filter (where exclusive and not alone)
    into held_keys, held_exclusive_keys
    from (
      select key, exclusive, alone,
          alone or pg_try_advisory_xact_lock_shared('evsrc.event_tags'::regclass::oid::integer, key) as shared
        from (
          select key, exclusive, exclusive and pg_try_advisory_xact_lock('evsrc.event_tags'::regclass::oid::integer, key) as alone
            from evsrc.condition_keys(p_types, p_tags, p_items)
            offset 0
        ) as keys
        offset 0
    ) as keys;
end $$;

-- Returns the number by which a 'busy' append names the key of a type or tag. It is below all others that such an append returns.
create function evsrc.number_of_key(p_key integer) returns bigint language sql immutable
return -4294967296 - (p_key::bigint & 4294967295);

-- Limits how long this transaction waits for a lock, and, with more limits, how long a statement, the client and the transaction may
-- take: p_limits are lock_timeout, statement_timeout, idle_in_transaction_session_timeout and transaction_timeout, in milliseconds; 0 is
-- no limit. A limit that the role or the session already has stays. Returns the lock_timeout to which the caller must set it back, because
-- the transaction belongs to the client: null if all limits are given.
create function evsrc.limit_transaction(p_limits integer[]) returns text language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  names constant text[] := array['lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout'];
  previous constant text := current_setting('lock_timeout');
begin
  for limit_number in 1 .. cardinality(p_limits) loop
    -- transaction_timeout exists from PostgreSQL 17 on.
    if current_setting(names[limit_number], true) = '0' then
      perform set_config(names[limit_number], p_limits[limit_number]::text, true);
    end if;
  end loop;
  return case when cardinality(p_limits) = 1 then previous end;
end $$;


-- Returns the last position that the sequence has assigned. For a role that may not read the sequence PostgreSQL returns null,
-- which would silently disable the locks and bounds computed from it; this function raises an error instead.
create function evsrc.last_assigned_position() returns bigint language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  last_position bigint := pg_sequence_last_value('evsrc.positions');
begin
  if last_position is null then
    raise exception 'this role may not read the sequence evsrc.positions' using errcode = 'EV001',
      hint = 'GRANT USAGE, SELECT ON SEQUENCE to it.';
  end if;
  return last_position;
end $$;

-- Returns whether the log has all of these events, given by position and id. A log that was set back to an earlier state has other
-- events at later positions.
create function evsrc.has_events(p_positions bigint[], p_ids uuid[]) returns boolean language sql stable
return not exists (
    select from unnest(p_positions, p_ids) as seen("position", id)
      -- A scalar subquery, as in reject_unarchived_delete.
      where (select event.id from evsrc.log event where event."position" = seen."position" limit 1) is distinct from seen.id
  );

-- Locks an in-flight low-water mark that is too large for the second key of a lock. Its lock has a single key of 64 bits: 20 of the
-- sequence's oid, and 44 of the mark. Another lock of the database may have such a key too; then readers wait for its holder.
create function evsrc.lock_large_mark(p_low_water_mark bigint) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform pg_advisory_xact_lock_shared(('evsrc.positions'::regclass::oid::bigint & 1048575) << 44 | p_low_water_mark);
end $$;

-- Locks documents of inline projections until the transaction ends, also those that do not exist. An append does so before it draws positions.
-- So the appends that touch a document draw them in the order in which they change it. It locks each key once, in its strongest mode, and all
-- callers lock keys in the same order.
--   p_documents  names, each after "x" for an exclusive or "s" for a shared lock
--   p_end        until when to wait, as for `wait_for_lock`
create function evsrc.lock_documents(p_documents text[], p_end timestamptz) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform evsrc.wait_for_lock('evsrc.documents'::regclass::oid::integer, document.key, document.exclusive, p_end)
    from (
      select hashtext(substr(name, 2)) as key, bool_or(starts_with(name, 'x')) as exclusive from unnest(p_documents) as name
        group by 1
        order by 1
    ) as document;
end $$;

-- Locks the documents of appends without waiting. Returns the numbers of the appends with a document that another transaction has locked. The
-- other appends hold the locks of all their documents.
--   p_documents  for each append null, or names as for `lock_documents`, as the text of an array
--   p_outcomes   the outcomes so far: an append that is 'busy' needs none
create function evsrc.try_lock_documents(p_documents text[], p_outcomes text[]) returns integer[] language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select distinct append_number
      from (
        select document.append_numbers,
            case when document.exclusive
              then pg_try_advisory_xact_lock('evsrc.documents'::regclass::oid::integer, document.key)
              else pg_try_advisory_xact_lock_shared('evsrc.documents'::regclass::oid::integer, document.key)
            end as is_locked
          from (
            select hashtext(substr(name, 2)) as key, bool_or(starts_with(name, 'x')) as exclusive,
                array_agg(touching.append_number::integer) as append_numbers
              from unnest(p_documents) with ordinality as touching(documents, append_number), unnest(touching.documents::text[]) as name
              where p_outcomes[touching.append_number] <> 'busy'
              group by 1
              order by 1
              offset 0
          ) as document
          offset 0
      ) as tried, unnest(tried.append_numbers) as append_number
      where not tried.is_locked
  );
end $$;

-- Returns the numbers of the appends with a document that was computed from another revision than the stored one, or whose row a session has
-- locked, so that a write would wait. Locks the rows of the other documents, so that their writes do not wait. The caller holds the locks of
-- `lock_documents` on them, so no append changes them meanwhile.
--   p_appends, p_generations, p_keys, p_revisions  one element per document: the number of the append, the document, and its revision; 0 if
--                                                  there was none
--   p_outcomes                                     the outcomes so far: only appends that are 'appended' write documents
create function evsrc.lock_unchanged_documents(
  p_appends integer[], p_generations text[], p_keys text[], p_revisions bigint[], p_outcomes text[]
) returns integer[] language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  return array(
    select read.append_number
      from unnest(p_appends, p_generations, p_keys, p_revisions) as read(append_number, generation, key, revision)
        left join lateral (
          select document.revision from evsrc.documents document
            where read.revision <> 0 and document.generation = read.generation and document.key = read.key
            for update skip locked
        ) as stored on true
      where p_outcomes[read.append_number] = 'appended'
        and case when read.revision = 0
          -- One that is locked by a session is there, too.
          then exists (select from evsrc.documents document where document.generation = read.generation and document.key = read.key)
          else stored.revision is distinct from read.revision
        end
  );
end $$;

-- Waits for appends in flight, and keeps others from beginning until the transaction ends: those of events of these types, and those that run an
-- inline projection. The locks are in the order in which an append takes them.
--   p_wait  for how many milliseconds to wait for all of them; null: as long as the transaction waits for any
create function evsrc.lock_types(p_types text[], p_projection text default null, p_wait integer default null)
returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  previous constant text := current_setting('lock_timeout');
  wait_end timestamptz;
begin
  if p_wait is not null then
    perform set_config('lock_timeout', least(p_wait, nullif(setting.setting::integer, 0))::text, true)
      from pg_settings setting where setting.name = 'lock_timeout';
  end if;
  wait_end := evsrc.end_of_lock_wait();
  perform evsrc.lock_condition_keys('{}', '{}', array[row(p_types, '{}'::text[])::evsrc.query_item], wait_end);
  if p_projection is not null then
    perform evsrc.lock_documents(array['x' || p_projection], wait_end);
  end if;
  perform set_config('lock_timeout', previous, true);
end $$;

-- Returns the last assigned position, and the transactions of other sessions that may have appended an event of these types at or below it and have
-- not ended. When they have ended, no further event of these types can appear there. An append locks its types before it draws positions.
create function evsrc.in_flight_appends_of(p_types text[], out last_position bigint, out in_flight text[]) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform evsrc.require_read_committed();
  last_position := evsrc.last_assigned_position();
  in_flight := array(
    select distinct held.virtualtransaction
      from pg_locks held join unnest(p_types) as type on held.objid = (hashtext('y' || type)::bigint & 4294967295)::oid
      where held.locktype = 'advisory' and held.granted and held.objsubid = 2 and held.classid = 'evsrc.event_tags'::regclass::oid
        and held.database = (select oid from pg_database where datname = current_database()) and held.pid is distinct from pg_backend_pid()
  );
end $$;

-- Records a gap for each inline projection that reads one of these events and was not run on it, also if it has gaps already: they may be
-- closed at this moment. A gap is the first such event of each kind; for handlers each event, because their tables may be corrected up to any. If
-- the projection is required, raises an error instead. Registering a projection takes the locks of its types exclusively, so an append that
-- holds them shared sees it, or is seen by it. Documents that were changed by an event which the projection does not read are a gap too:
-- the program runs another definition. Handlers may do so: nothing is lost.
-- One element per event:
--   p_streams, p_positions, p_types  an event without a position was not written
--   p_tags                           the tags as the text of an array; null if no event has tags
--   p_inline                         as for `append`
--   p_restored                       whether the events come from another log; then nothing is rejected
create function evsrc.record_inline_gaps(
  p_streams text[], p_positions bigint[], p_types text[], p_tags text[], p_inline text[], p_restored boolean default false
) returns void language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  missed record;
  recorded text := '';
begin
  for missed in
    select inline.projection, inline.keeps, inline.required and compared.is_read as is_rejected, event."position", event.type, compared.is_read
      from evsrc.inline_projections inline
        cross join unnest(p_streams, p_positions, p_types, p_tags, p_inline) as event(stream, "position", type, tags, covered)
        cross join lateral (
          select event.type = any (inline.types)
                and (inline.tags is null or coalesce(event.tags::text[] @> inline.tags, false))
                and (inline.stream_prefix is null or starts_with(event.stream, inline.stream_prefix)) as is_read,
              inline.keeps || ':' || inline.projection || case when jsonb_exists(inline.ignores -> event.type, event.type) then ' ignored' else '' end
                = any (coalesce(event.covered::text[], '{}')) as is_run
        ) as compared
      where event."position" is not null and compared.is_read <> compared.is_run
        and (compared.is_read or inline.keeps = 'documents')
      order by inline.projection, is_rejected desc, compared.is_read, event."position"
  loop
    if missed.is_rejected and not p_restored then
      raise exception 'an event of type "%" must not be appended without the inline projection "%"', missed.type, missed.projection
        using errcode = 'EV003', datatype = missed.type, constraint = missed.projection,
          hint = 'Append through Projector.layerInline with this projection, or call Projector.retireInline.';
    end if;
    if missed.keeps = 'handlers' or missed.is_read || missed.projection <> recorded then
      insert into evsrc.inline_gaps (projection, "position", is_read) values (missed.projection, missed."position", missed.is_read)
        on conflict do nothing;
      recorded := missed.is_read || missed.projection;
    end if;
  end loop;
end $$;

-- Raises an exception if an append runs an inline projection that is not registered: it was retired or discarded after the program was
-- started, and its documents may belong to another consumer by now.
--   p_inline  what the append names: <kind>:<projection>, and then " ignored" if it leaves the event out, and reads earlier versions of it only
create function evsrc.require_registered(p_inline text[]) returns void language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  missing text;
begin
  select named.projection into missing
    from (
      select split_part(coverage, ':', 1) as keeps, split_part(substr(coverage, strpos(coverage, ':') + 1), ' ', 1) as projection
        from unnest(p_inline) as coverage
    ) as named
    where not exists (
      select from evsrc.inline_projections inline where inline.projection = named.projection and inline.keeps = named.keeps
    )
    limit 1;
  if found then
    perform evsrc.require_not_discarded(array[missing]);
    raise exception 'this program runs the inline projection "%", which was retired after the program was started', missing
      using errcode = 'EV005',
        hint = 'Start the program again: with the projection, to make its documents again, or without it.';
  end if;
end $$;

-- Takes the lock that an append takes on a stream, for a transaction that reads the stream and then appends to it. Returns whether it has the
-- lock: without p_wait it does not wait for another transaction. p_limits are as for `limit_transaction`.
create function evsrc.lock_stream(p_wait boolean, p_stream text, p_limits integer[]) returns boolean language plpgsql volatile
security definer
set search_path = pg_catalog, pg_temp, pg_catalog
as $$
begin
  perform evsrc.limit_transaction(p_limits);
  if not p_wait then
    return pg_try_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(p_stream));
  end if;
  perform pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(p_stream));
  return true;
end $$;

-- Appends to one stream or to several, in one statement and one commit. A conflict or a duplicate of one append does not affect
-- the others. Each append finds what those before it have written. A statement does not see what it writes, so no command id may occur twice
-- in one call. If no append has a condition, those to one stream stand one after the other.
--
-- The steps, of which `append_one` takes the same:
--   1. require READ COMMITTED on a primary server
--   2. lock the stream, then the command id, then the types and tags, then the documents; without p_wait a held lock means 'busy', or 'stale' if
--      it is that of a document which was computed before the append
--   3. look up the command id in events and archived_events: 'duplicate'
--   4. read version, closes and id of the stream's last event; for a stream without rows, look into closed_streams
--   5. check that the stream is open ('closed'), then the expected version ('conflict') and the id of the last event ('diverged'),
--      and that the log has the events on which the condition depends ('diverged'), then the documents that were computed before ('stale'),
--      then the condition ('changed')
--   6. take recorded_at, in whole milliseconds
--   7. lock the in-flight low-water mark, and only then draw positions
--   8. insert the events, with command_id and command_events on the first one
--   9. look for inline projections that read the events and are not run on them, or the reverse: record gaps, or raise an error
--  10. raise an error if an inline projection that is run on the events was retired or discarded
--
--   p_wait                                         whether to wait for a lock that another transaction holds; if not, the outcome is 'busy'
-- One element per append; the array is null if all its elements would be:
--   p_streams                                      the stream
--   p_expected_versions                            null: any version; -1: the stream exists; else exactly that version (0: no stream)
--   p_command_ids                                  null, or the id of the command; an id that was used before is not appended again
--   p_event_counts                                 the number of events of the append
--   p_last_event_ids                               null, or the id that the stream's last event must have: a restored log may have another
--                                                  event of that version
--   p_documents                                    null, or the documents that the append changes, as `lock_documents` names them, as the text
--                                                  of an array. With p_wait they are locked together
-- One element per event, in the order of the appends and of the events of each:
--   p_event_ids, p_types, p_schema_versions, p_data, p_metadata
--   p_tags                                         the tags of the event as the text of an array, or null; the array is null if
--                                                  no event has tags
--   p_inline                                       null, or the text of an array of what names the inline projections that the caller runs
--                                                  on the event in this transaction, as for `require_registered`; null if all its
--                                                  elements would be
-- One element per item of a condition, in the order of the appends; all null if no append has a condition:
--   p_item_appends            the number of the append, from 1. An append that has items is written only if the log has no event, and no append
--                             before it in this call writes one, that matches an item and is unknown
--   p_item_types, p_item_tags the item, each as the text of an array
--   p_item_afters             all matches up to this position are known
--   p_item_seen               the positions of the known matches after it, as the text of an array, or null
--   p_item_sent               null, or the ids of known matches whose positions were not known yet, as the text of an array. The log must
--                             have them all, in this order, and after all other known matches
-- One element per event on which a condition depends, so that the log must have it; null if there is none:
--   p_basis_appends, p_basis_positions, p_basis_ids  the number of the append, and the event
-- One element per document that was computed before the appends, and that `write_documents_ahead` writes in this statement; null if there is none:
--   p_ahead_appends, p_ahead_generations, p_ahead_keys, p_ahead_revisions  as for `lock_unchanged_documents`
-- Only for a call with a single append:
--   p_closes                                       whether the last event closes the stream
-- For the call:
--   p_limits                                       null, or limits as for `limit_transaction`
--
-- Returns for each append its outcome:
--   'appended'   with the version of its last event
--   'conflict'   with the stream's actual version
--   'diverged'   the log does not have an event that the caller has read
--   'changed'    an unknown event matches the condition, or a known one is missing
--   'stale'      another transaction has changed a document that was computed before the append, or may be changing it
--   'duplicate'  the command id was used before
--   'closed'     the stream takes no more events; with its version
--   'busy'       another transaction holds a lock, which the version names: -1 that of the stream, -2 that of the command id, -3 those of the
--                documents, or the `number_of_key` of a type or tag. A version that is not negative means that the append is behind another
--                one of the call which is busy
-- It returns for each event its position, or null if it was not written. If the outcome is 'changed', the position of the first event is that of
-- the newest match, or that up to which all matches were known.
create function evsrc.append(
  p_wait boolean, p_streams text[], p_expected_versions bigint[], p_command_ids text[], p_event_counts integer[],
  p_event_ids uuid[], p_types text[], p_schema_versions integer[], p_data text[], p_metadata text[], p_tags text[],
  p_item_appends integer[], p_item_types text[], p_item_tags text[], p_item_afters bigint[], p_item_seen text[], p_item_sent text[],
  p_basis_appends integer[], p_closes boolean default false,
  p_last_event_ids uuid[] default null, p_basis_positions bigint[] default null, p_basis_ids uuid[] default null,
  p_inline text[] default null,
  p_limits integer[] default null, p_documents text[] default null,
  p_ahead_appends integer[] default null, p_ahead_generations text[] default null, p_ahead_keys text[] default null,
  p_ahead_revisions bigint[] default null,
  out outcomes text[], out versions bigint[], out positions bigint[], out recorded_at timestamptz
) language plpgsql volatile security definer
-- One generic plan of index lookups. PostgreSQL would keep a plan made for a small table while the table grows. Also, planning again for each
-- new length of the arrays would cost as much as the execution.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set search_path = pg_catalog, pg_temp, pg_catalog
as $$
#variable_conflict use_column
declare
  condition_items evsrc.query_item[];
  item_number integer := 1;
  newest_matches bigint[];
  unmet_appends integer[];
  -- The events of this call that match an item of a later append, in the order of the items and of the events.
  neighbour_items integer[];
  neighbour_events integer[];
  neighbour_appends integer[];
  neighbour_number integer := 1;
  known_ids uuid[];
  found_ids uuid[];
  -- Of an append whose outcome is 'changed': the position of the match, or its event in this call.
  changed_positions bigint[];
  changed_events integer[];
  expected_version bigint;
  duplicate_append integer;
  stream_closes boolean[];
  last_event_ids uuid[];
  absent_append integer;
  closed_at_version bigint;
  held_keys integer[];
  held_exclusive_keys integer[];
  held_key integer;
  append_of_item integer;
  -- The appends whose documents have changed, or are locked.
  stale_appends integer[];
  held_append integer;
  -- The number of the append before it to the same stream, or null.
  previous integer[];
  held_streams boolean[];
  -- Which lock a busy append needs, as in its version.
  held_locks bigint[];
  is_behind_busy boolean[];
  last_events integer[];
  append_numbers integer[];
  event_versions bigint[];
  event_number integer := 0;
  low_water_mark bigint;
  previous_lock_timeout text;
  wait_end timestamptz;
begin
  perform evsrc.require_read_committed();
  -- The lookups below number the elements from 1, whatever the bounds of an array. With other bounds they would look up one stream and
  -- write another.
  if array_ndims(p_streams) <> 1 or array_lower(p_streams, 1) <> 1 or array_lower(p_command_ids, 1) <> 1
    or array_lower(p_event_counts, 1) <> 1 or array_lower(p_event_ids, 1) <> 1
    or array_lower(p_documents, 1) <> 1 or cardinality(p_streams) <> 1 and p_closes
  then
    raise exception 'append takes arrays that begin at 1, and an end only of a single stream'
      using errcode = 'invalid_parameter_value';
  end if;
  -- A missing element would hold for every log.
  if p_item_appends is not null and not coalesce(
    array_lower(p_item_appends, 1) = 1 and array_lower(p_item_types, 1) = 1 and array_lower(p_item_tags, 1) = 1
      and array_lower(p_item_afters, 1) = 1 and cardinality(p_item_types) = cardinality(p_item_appends)
      and cardinality(p_item_tags) = cardinality(p_item_appends) and cardinality(p_item_afters) = cardinality(p_item_appends)
      and array_position(p_item_afters, null) is null and coalesce(array_lower(p_item_seen, 1), 1) = 1
      and coalesce(array_lower(p_item_sent, 1), 1) = 1 and array_ndims(p_item_appends) = 1,
    false
  ) then
    raise exception 'append takes the arrays of conditions that begin at 1, with an element for each item'
      using errcode = 'invalid_parameter_value';
  end if;
  if p_limits is not null then
    previous_lock_timeout := evsrc.limit_transaction(p_limits);
  end if;
  if p_wait then
    previous_lock_timeout := coalesce(previous_lock_timeout, current_setting('lock_timeout'));
    wait_end := evsrc.end_of_lock_wait();
  end if;
  previous := array_fill(null::integer, array[cardinality(p_streams)]);
  if p_item_appends is null then
    for append_number in 2 .. cardinality(p_streams) loop
      if p_streams[append_number] = p_streams[append_number - 1] then
        previous[append_number] := append_number - 1;
      end if;
    end loop;
  else
    condition_items := array(
      select row(coalesce(item.types, '{}')::text[], coalesce(item.tags, '{}')::text[])::evsrc.query_item
        from unnest(p_item_appends, p_item_types, p_item_tags) with ordinality as item(append_number, types, tags, ordinal)
        order by item.ordinal
    );
    if cardinality(p_streams) > 1 then
      select array_agg(stream_append.previous order by stream_append.append_number) into previous
        from (
          select stream.append_number, lag(stream.append_number) over (partition by stream.name order by stream.append_number) as previous
            from unnest(p_streams) with ordinality as stream(name, append_number)
        ) as stream_append;
    end if;
  end if;
  for append_number in 1 .. cardinality(p_streams) loop
    outcomes[append_number] := 'appended';
    if p_wait then
      perform evsrc.wait_for_lock('evsrc.events'::regclass::oid::integer, hashtext(p_streams[append_number]), true, wait_end);
      if p_command_ids[append_number] is not null then
        perform evsrc.wait_for_lock('evsrc.events_command'::regclass::oid::integer, hashtext(p_command_ids[append_number]), true, wait_end);
      end if;
    else
      held_streams[append_number] := case
        when previous[append_number] is null
          then not pg_try_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(p_streams[append_number]))
        else held_streams[previous[append_number]]
      end;
      if held_streams[append_number] then
        outcomes[append_number] := 'busy';
        held_locks[append_number] := -1;
      elsif p_command_ids[append_number] is not null
        and not pg_try_advisory_xact_lock('evsrc.events_command'::regclass::oid::integer, hashtext(p_command_ids[append_number]))
      then
        outcomes[append_number] := 'busy';
        held_locks[append_number] := -2;
      end if;
    end if;
  end loop;
  if p_wait then
    if condition_items is null and p_tags is null then
      perform evsrc.wait_for_lock('evsrc.event_tags'::regclass::oid::integer, key, false, wait_end)
        from (select distinct hashtext('y' || type) as key from unnest(p_types) as type order by key) as keys;
    else
      perform evsrc.lock_condition_keys(p_types, p_tags, condition_items, wait_end);
    end if;
  else
    -- Locks that are not waited for need no order. Another transaction holds one of these exclusively only while it appends on a
    -- condition.
    if condition_items is null then
      held_keys := array(
        select key
          from (
            select hashtext('y' || type) as key from unnest(p_types) as type
            union
            select hashtext('t' || tag) from unnest(p_tags) as event_tags, unnest(event_tags::text[]) as tag
          ) as keys
          where not pg_try_advisory_xact_lock_shared('evsrc.event_tags'::regclass::oid::integer, key)
      );
    else
      select held.held_keys, held.held_exclusive_keys into held_keys, held_exclusive_keys
        from evsrc.try_lock_condition_keys(p_types, p_tags, condition_items) as held;
      if held_exclusive_keys is not null then
        for item_number in 1 .. cardinality(condition_items) loop
          select keys.key into held_key from evsrc.condition_keys('{}', '{}', array[condition_items[item_number]]) as keys
            where keys.key = any (held_exclusive_keys) limit 1;
          if found then
            append_of_item := p_item_appends[item_number];
            outcomes[append_of_item] := 'busy';
            held_locks[append_of_item] := coalesce(held_locks[append_of_item], evsrc.number_of_key(held_key));
          end if;
        end loop;
      end if;
    end if;
    if cardinality(held_keys) > 0 then
      for append_number in 1 .. cardinality(p_streams) loop
        for event_of_append in 1 .. p_event_counts[append_number] loop
          event_number := event_number + 1;
          select hashtext(name) into held_key from (
            select 'y' || p_types[event_number] as name union all select 't' || tag from unnest(p_tags[event_number]::text[]) as tag
          ) as names where hashtext(name) = any (held_keys) limit 1;
          if found then
            outcomes[append_number] := 'busy';
            held_locks[append_number] := coalesce(held_locks[append_number], evsrc.number_of_key(held_key));
          end if;
        end loop;
      end loop;
      event_number := 0;
    end if;
  end if;
  if p_documents is not null and p_wait then
    perform evsrc.lock_documents(array(select unnest(touching.documents::text[]) from unnest(p_documents) as touching(documents)), wait_end);
  elsif p_documents is not null then
    foreach held_append in array evsrc.try_lock_documents(p_documents, outcomes) loop
      if held_append = any (p_ahead_appends) then
        -- Its holder is likely to change the document.
        stale_appends := stale_appends || held_append;
      else
        outcomes[held_append] := 'busy';
        held_locks[held_append] := -3;
      end if;
    end loop;
  end if;
  if previous_lock_timeout is not null then
    perform set_config('lock_timeout', previous_lock_timeout, true);
  end if;
  if p_command_ids is not null then
    for duplicate_append in
      select command.append_number from unnest(p_command_ids) with ordinality as command(id, append_number)
        where (select true from evsrc.events event where event.command_id = command.id limit 1) is true
          or (select true from evsrc.archived_events event where event.command_id = command.id limit 1) is true
    loop
      -- This replaces 'busy' too: a duplicate has nothing to wait for.
      outcomes[duplicate_append] := 'duplicate';
    end loop;
  end if;
  if p_ahead_appends is not null then
    stale_appends := stale_appends
      || evsrc.lock_unchanged_documents(p_ahead_appends, p_ahead_generations, p_ahead_keys, p_ahead_revisions, outcomes);
  end if;
  select array_agg(last_event.version), array_agg(last_event.closes), array_agg(last_event.id)
    into versions, stream_closes, last_event_ids
    from unnest(p_streams, previous) as requested(stream, previous) left join lateral (
      select event.version, event.closes, event.id from evsrc.events event
        where event.stream = requested.stream and requested.previous is null order by event.version desc limit 1
    ) as last_event on true;
  if array_position(versions, null) is not null then
    -- These streams are new, or archived.
    for absent_append, closed_at_version in
      select requested.append_number,
          (select closed.version from evsrc.closed_streams closed where closed.stream = requested.stream)
        from unnest(p_streams, versions, previous) with ordinality as requested(stream, version, previous, append_number)
        where requested.version is null and requested.previous is null
    loop
      versions[absent_append] := coalesce(closed_at_version, 0);
      stream_closes[absent_append] := closed_at_version is not null;
    end loop;
  end if;
  if condition_items is not null then
    select array_agg(distinct basis.append_number) into unmet_appends
      from unnest(p_basis_appends, p_basis_positions, p_basis_ids) as basis(append_number, "position", id)
      where (select event.id from evsrc.log event where event."position" = basis."position" limit 1) is distinct from basis.id;
    newest_matches := evsrc.newest_matches(condition_items, p_item_afters, p_item_seen, p_item_sent);
    if cardinality(p_streams) > 1 then
      with item as materialized (
        select p_item_appends[one.ordinal] as append_number, one.ordinal, one.types, one.tags
          from unnest(condition_items) with ordinality as one(types, tags, ordinal)
      ), event as materialized (
        select owner.append_number, one.ordinal, one.type, coalesce(one.tags, '{}')::text[] as tags
          from unnest(p_types, p_tags) with ordinality as one(type, tags, ordinal)
            join (
              select counted.append_number, sum(counted.events) over (order by counted.append_number) as last_ordinal, counted.events
                from unnest(p_event_counts) with ordinality as counted(events, append_number)
            ) as owner on one.ordinal <= owner.last_ordinal and one.ordinal > owner.last_ordinal - owner.events
      )
      select array_agg(item.ordinal order by item.ordinal, event.ordinal), array_agg(event.ordinal order by item.ordinal, event.ordinal),
          array_agg(event.append_number order by item.ordinal, event.ordinal)
        into neighbour_items, neighbour_events, neighbour_appends
        from item join event on event.append_number < item.append_number
        where event.tags @> item.tags and (cardinality(item.types) = 0 or event.type = any (item.types));
    end if;
  end if;
  for append_number in 1 .. cardinality(p_streams) loop
    expected_version := p_expected_versions[append_number];
    is_behind_busy[append_number] := outcomes[append_number] = 'busy';
    if previous[append_number] is not null then
      versions[append_number] := versions[previous[append_number]];
      stream_closes[append_number] := stream_closes[previous[append_number]];
      last_event_ids[append_number] := last_event_ids[previous[append_number]];
      if outcomes[previous[append_number]] = 'appended' then
        versions[append_number] := versions[append_number] + p_event_counts[previous[append_number]];
        last_event_ids[append_number] := p_event_ids[last_events[previous[append_number]]];
      end if;
      is_behind_busy[append_number] := is_behind_busy[append_number] or is_behind_busy[previous[append_number]];
    end if;
    event_number := event_number + p_event_counts[append_number];
    last_events[append_number] := event_number;
    if is_behind_busy[append_number] and outcomes[append_number] = 'appended' then
      outcomes[append_number] := 'busy';
    end if;
    if outcomes[append_number] = 'appended' then
      if stream_closes[append_number] is true then
        outcomes[append_number] := 'closed';
      elsif expected_version is not null
        and not (expected_version = versions[append_number] or (expected_version = -1 and versions[append_number] > 0))
      then
        outcomes[append_number] := 'conflict';
      elsif p_last_event_ids[append_number] <> last_event_ids[append_number] or append_number = any (unmet_appends) then
        outcomes[append_number] := 'diverged';
      elsif append_number = any (stale_appends) then
        outcomes[append_number] := 'stale';
      end if;
    end if;
    while p_item_appends[item_number] = append_number loop
      found_ids := '{}';
      while neighbour_items[neighbour_number] = item_number loop
        if outcomes[neighbour_appends[neighbour_number]] = 'appended' then
          found_ids := found_ids || p_event_ids[neighbour_events[neighbour_number]];
          changed_events[append_number] := neighbour_events[neighbour_number];
        elsif outcomes[neighbour_appends[neighbour_number]] = 'busy' and outcomes[append_number] = 'appended' then
          outcomes[append_number] := 'busy';
          is_behind_busy[append_number] := true;
        end if;
        neighbour_number := neighbour_number + 1;
      end loop;
      if outcomes[append_number] in ('appended', 'changed') then
        known_ids := coalesce(p_item_sent[item_number], '{}')::uuid[];
        if cardinality(known_ids) > 0 then
          found_ids := evsrc.matches_after(
            condition_items[item_number],
            greatest(
              p_item_afters[item_number],
              (select max(seen."position") from unnest(p_item_seen[item_number]::bigint[]) as seen("position"))
            )
          ) || found_ids;
        end if;
        if newest_matches[item_number] is not null or found_ids <> known_ids then
          outcomes[append_number] := 'changed';
          changed_positions[append_number] := greatest(
            changed_positions[append_number], newest_matches[item_number], p_item_afters[item_number]
          );
        end if;
      end if;
      item_number := item_number + 1;
    end loop;
  end loop;
  if item_number <= cardinality(p_item_appends) then
    raise exception 'append takes the items of conditions in the order of the appends' using errcode = 'invalid_parameter_value';
  end if;
  event_number := 0;
  if held_locks is not null then
    for append_number in 1 .. cardinality(p_streams) loop
      if outcomes[append_number] = 'busy' then
        versions[append_number] := coalesce(held_locks[append_number], versions[append_number]);
      end if;
    end loop;
  end if;
  if not 'appended' = any (outcomes) then
    if changed_positions is not null then
      positions := array_fill(null::bigint, array[cardinality(p_event_ids)]);
      for append_number in 1 .. cardinality(p_streams) loop
        if outcomes[append_number] = 'changed' then
          positions[last_events[append_number] - p_event_counts[append_number] + 1] := changed_positions[append_number];
        end if;
      end loop;
    end if;
    return;
  end if;
  recorded_at := date_trunc('milliseconds', clock_timestamp());
  -- The in-flight low-water mark: a shared lock on a lower bound of the positions drawn below, held until this append is visible.
  low_water_mark := evsrc.last_assigned_position();
  if low_water_mark < 2147483648 then
    perform pg_advisory_xact_lock_shared('evsrc.positions'::regclass::oid::integer, low_water_mark::integer);
  else
    perform evsrc.lock_large_mark(low_water_mark);
  end if;
  for append_number in 1 .. cardinality(p_streams) loop
    for event_of_append in 1 .. p_event_counts[append_number] loop
      event_number := event_number + 1;
      append_numbers[event_number] := append_number;
      event_versions[event_number] := versions[append_number] + event_of_append;
      positions[event_number] := case when outcomes[append_number] = 'appended' then nextval('evsrc.positions') end;
    end loop;
    if outcomes[append_number] = 'appended' then
      versions[append_number] := versions[append_number] + p_event_counts[append_number];
    end if;
  end loop;
  insert into evsrc.events (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at,
      tags, closes)
    select event.position, p_streams[event.append_number], event.version, event.type, event.schema_version, event.id,
        case when event.version = versions[event.append_number] - p_event_counts[event.append_number] + 1
          then p_command_ids[event.append_number] end,
        case when event.version = versions[event.append_number] - p_event_counts[event.append_number] + 1
          and p_command_ids[event.append_number] is not null then p_event_counts[event.append_number] end,
        event.data::json, event.metadata::json, append.recorded_at, event.tags::text[],
        case when p_closes and event.version = versions[event.append_number] then true end
      from unnest(positions, append_numbers, event_versions, p_event_ids, p_types, p_schema_versions, p_data, p_metadata, p_tags)
        as event(position, append_number, version, id, type, schema_version, data, metadata, tags)
      where event.position is not null;
  if p_closes then
    insert into evsrc.closed_streams (stream, version, "position", closed_at)
      values (p_streams[1], versions[1], positions[event_number], append.recorded_at);
  end if;
  if p_tags is not null then
    insert into evsrc.event_tags (tag_hash, position)
      select distinct hashtextextended(tag, 0), event.position
        from unnest(positions, p_tags) as event(position, tags), unnest(event.tags::text[]) as tag
        where event.position is not null;
  end if;
  if p_inline is not null or exists (select from evsrc.inline_projections inline where inline.types && p_types) then
    perform evsrc.record_inline_gaps(
      array(
        select p_streams[event.append_number] from unnest(append_numbers) with ordinality as event(append_number, ordinal)
          order by event.ordinal
      ),
      positions, p_types, p_tags, p_inline
    );
  end if;
  if p_inline is not null then
    perform evsrc.require_registered(array(select distinct unnest(covered::text[]) from unnest(p_inline) as covered));
  end if;
  if changed_positions is not null then
    for append_number in 1 .. cardinality(p_streams) loop
      if outcomes[append_number] = 'changed' then
        positions[last_events[append_number] - p_event_counts[append_number] + 1] :=
          greatest(changed_positions[append_number], positions[changed_events[append_number]]);
      end if;
    end loop;
  end if;
end $$;

-- What `append_one` returns: see `append`. A type of its own, because PostgreSQL makes that of `out` parameters again for each call.
create type evsrc.append_one_row as (outcome text, version bigint, "position" bigint, recorded_at timestamptz);

-- Appends one event without tags, on no condition other than its stream's version: the most frequent append. It takes the steps of
-- `append` in one statement, without arrays. If it cannot write the event so, it has written nothing and calls `append`, which finds
-- out why, waits for locks, and looks for inline projections.
--
-- The parameters are those of `append`, for a single append of a single event.
create function evsrc.append_one(
  p_wait boolean, p_stream text, p_expected_version bigint, p_command_id text,
  p_event_id uuid, p_type text, p_schema_version integer, p_data text, p_metadata text, p_last_event_id uuid default null,
  p_inline text[] default null,
  p_limits integer[] default null, p_documents text[] default null
) returns evsrc.append_one_row language plpgsql volatile security definer
-- As in append.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set search_path = pg_catalog, pg_temp, pg_catalog
as $$
declare
  appended evsrc.append_one_row;
begin
  -- One expression, because each costs about a microsecond.
  if not p_wait and p_limits is null and p_documents is null and p_inline is null
    and current_setting('transaction_isolation') = 'read committed' and not pg_is_in_recovery()
    and pg_try_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(p_stream))
    and (p_command_id is null or pg_try_advisory_xact_lock('evsrc.events_command'::regclass::oid::integer, hashtext(p_command_id)))
    and pg_try_advisory_xact_lock_shared('evsrc.event_tags'::regclass::oid::integer, hashtext('y' || p_type))
  then
    -- Its snapshot is later than these locks.
    insert into evsrc.events (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at)
      select case
            -- The in-flight low-water mark, before the position is drawn. Null without the right to read the sequence.
            when pg_advisory_xact_lock_shared(
              'evsrc.positions'::regclass::oid::integer, pg_sequence_last_value('evsrc.positions')::integer
            ) is not null
            then nextval('evsrc.positions')
          end,
          p_stream, coalesce(last_event.version, 0) + 1, p_type, p_schema_version, p_event_id, p_command_id,
          case when p_command_id is not null then 1 end, p_data::json, p_metadata::json, date_trunc('milliseconds', clock_timestamp())
        from (select) as always left join lateral (
          select event.version, event.closes, event.id from evsrc.events event
            where event.stream = p_stream order by event.version desc limit 1
        ) as last_event on true
        where last_event.closes is not true
          and (p_expected_version is null or p_expected_version = coalesce(last_event.version, 0)
            or p_expected_version = -1 and last_event.version is not null)
          and (p_last_event_id = last_event.id) is not false
          and (last_event.version is not null
            or not exists (select from evsrc.closed_streams closed where closed.stream = p_stream))
          and (p_command_id is null or not (
            exists (select from evsrc.events event where event.command_id = p_command_id)
            or exists (select from evsrc.archived_events event where event.command_id = p_command_id)
          ))
          -- Another transaction commits a registration of this type only before this one has locked the type, or after it has ended.
          and not exists (
            select from evsrc.inline_projections inline
              where p_type = any (inline.types) and inline.tags is null
                and (inline.stream_prefix is null or starts_with(p_stream, inline.stream_prefix))
          )
          -- A larger mark has a lock of another form.
          and pg_sequence_last_value('evsrc.positions') < 2147000000
      returning 'appended', events.version, events."position", events.recorded_at into appended;
    if found then
      return appended;
    end if;
  end if;
  select many.outcomes[1], many.versions[1], many.positions[1], many.recorded_at into appended
    from evsrc.append(
      p_wait, array[p_stream], array[p_expected_version], case when p_command_id is not null then array[p_command_id] end,
      '{1}', array[p_event_id], array[p_type], array[p_schema_version], array[p_data], array[p_metadata], null,
      null, null, null, null, null, null, null, false, array[p_last_event_id], null, null,
      case when p_inline is not null then array[p_inline::text] end, p_limits, case when p_documents is not null then array[p_documents::text] end
    ) as many;
  return appended;
end $$;

-- Returns the high-water mark: the position of the last visible event such that no other event will appear at or below it. Every
-- event at or below it is visible to the next statement. Hence volatile and plpgsql: a caller must compute it in an earlier
-- statement than the one that reads. It is an event, not a bound: a bound counts rolled-back positions, which the sequence may
-- assign again after a crash.
create function evsrc.high_water_mark() returns bigint language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  last_position bigint;
  low_water_mark bigint;
  high_water_mark bigint;
begin
  perform evsrc.require_read_committed();
  last_position := evsrc.last_assigned_position();
  -- The lowest in-flight low-water mark, by append and lock_large_mark. One above last_position was taken after that was read, and
  -- limits nothing.
  select min(mark) into low_water_mark
    from (
      select case when objsubid = 2 then objid::bigint else (classid::bigint & 4095) << 32 | objid::bigint end as mark
        from pg_locks
        where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
          and (objsubid = 2 and classid = 'evsrc.positions'::regclass::oid
            or objsubid = 1 and classid::bigint >> 12 = ('evsrc.positions'::regclass::oid::bigint & 1048575))
    ) as in_flight;
  select event.position into high_water_mark from evsrc.log event
    where event.position <= least(last_position, low_water_mark)
    order by event.position desc limit 1;
  return coalesce(high_water_mark, 0);
end $$;

-- Returns the high-water mark, like high_water_mark, of a caller that knows an earlier one: the position p_final and the id of the event there.
-- If all positions after it are visible up to the last one assigned, no append in flight has one of them, and the list of all locks of the
-- server is not read. This is so if p_final is final still:
--   The log has the event, so it was not set back to before it. A log that was set back further than that has lost the appends that were
--   in flight before the event, except prepared transactions, so there must be none.
-- It must be the caller's transaction, too, that has written nothing: its own events are visible to it, and may be rolled back.
create function evsrc.high_water_mark_after(p_final bigint, p_final_id uuid) returns bigint language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  last_position bigint;
  visible bigint;
begin
  if p_final_id is not null and pg_current_xact_id_if_assigned() is null then
    perform evsrc.require_read_committed();
    last_position := evsrc.last_assigned_position();
    if last_position - p_final between 0 and 100 and not exists (select from pg_prepared_xact()) then
      -- A later statement than that which reads the sequence.
      select count(*) into visible from evsrc.log event
        where event."position" >= p_final and event."position" <= last_position
          and (event."position" > p_final or event.id = p_final_id);
      if visible = last_position - p_final + 1 then
        return last_position;
      end if;
    end if;
  end if;
  return evsrc.high_water_mark();
end $$;

-- Returns the lowest in-flight low-water mark of this session's transaction: it has appended nothing at or below that position. Null if it has
-- appended nothing.
create function evsrc.own_low_water_mark() returns bigint language sql volatile
set search_path = pg_catalog, pg_temp
return (
    select min(case when objsubid = 2 then objid::bigint else (classid::bigint & 4095) << 32 | objid::bigint end)
      from pg_locks
      where locktype = 'advisory' and pid = pg_backend_pid() and database = (select oid from pg_database where datname = current_database())
        and (objsubid = 2 and classid = 'evsrc.positions'::regclass::oid
          or objsubid = 1 and classid::bigint >> 12 = ('evsrc.positions'::regclass::oid::bigint & 1048575))
  );

-- Returns the transactions that hold back the high-water mark, the lowest first, and those that wait for the lock of one. Another session
-- than an append's can hold such a lock on purpose; docs/reference.md says how to prevent that.
--   pid, role_name, application  of the session; null for a prepared transaction
--   prepared                     the identifier of a prepared transaction, which has no session
--   state, since                 what the session does, and the begin of its transaction. Null for another role's session, unless this
--                                role has pg_read_all_stats; since is null too between transactions
--   low_water_mark               the position above which no reader gets
--   waiting_since                null, or since when it waits for its lock: it has drawn no position yet
create function evsrc.in_flight_appends()
returns table (
  pid integer, role_name text, application text, prepared text, state text, since timestamptz, low_water_mark bigint,
  waiting_since timestamptz
) language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  select in_flight.pid, activity.usename::text, activity.application_name, prepared.gid, activity.state,
      coalesce(activity.xact_start, prepared.prepared), min(in_flight.mark),
      min(case when not in_flight.granted then coalesce(in_flight.waitstart, clock_timestamp()) end)
    from (
      select pid, virtualtransaction, granted, waitstart,
          case when objsubid = 2 then objid::bigint else (classid::bigint & 4095) << 32 | objid::bigint end as mark
        from pg_locks
        where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
          and (objsubid = 2 and classid = 'evsrc.positions'::regclass::oid
            or objsubid = 1 and classid::bigint >> 12 = ('evsrc.positions'::regclass::oid::bigint & 1048575))
    ) as in_flight
      left join pg_stat_activity activity on activity.pid = in_flight.pid
      -- A prepared transaction has no pid. It holds the lock of its own id.
      left join pg_locks own on in_flight.pid is null and own.pid is null and own.locktype = 'transactionid'
        and own.virtualtransaction = in_flight.virtualtransaction
      left join pg_prepared_xacts prepared on prepared.transaction = own.transactionid
    group by 1, 2, 3, 4, 5, 6, in_flight.granted
    order by 8 nulls first, 7, 6, 1
$$;

-- Returns whether a key of an event belongs to a partition. The keys are the event's tags of a name, each as <name>:<value>; the
-- stream's name, if it has none. partitionOf in src/core/partitionHash.ts computes the same hash.
create function evsrc.has_partition_key(p_stream text, p_tags text[], p_tag text, p_partition integer, p_partitions integer)
returns boolean language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  tag text;
  has_tag boolean := false;
begin
  foreach tag in array coalesce(p_tags, '{}') loop
    if starts_with(tag, p_tag || ':') then
      if (hashtextextended(tag collate "C", 0) & 2147483647) % p_partitions = p_partition then
        return true;
      end if;
      has_tag := true;
    end if;
  end loop;
  return not has_tag and (hashtextextended(p_stream collate "C", 0) & 2147483647) % p_partitions = p_partition;
end $$;

-- Returns whether a filter of the log selects an event.
--   p_types          null, or the types
--   p_tags           null, or the tags, all of which the event must have
--   p_stream_prefix  null, or how the stream's name begins
--   p_partition      the partition, of p_partitions, to which the hash of a key of the event belongs (see has_partition_key)
--   p_partition_tag  null, if the key is the stream's name; or the name of the tag
create function evsrc.matches_filter(
  p_event_stream text, p_event_type text, p_event_tags text[],
  p_types text[], p_tags text[], p_stream_prefix text, p_partition integer, p_partitions integer, p_partition_tag text
) returns boolean language sql immutable
return (p_types is null or p_event_type = any (p_types))
    and (p_partitions = 1 or case
      when p_partition_tag is null then (hashtextextended(p_event_stream collate "C", 0) & 2147483647) % p_partitions = p_partition
      else evsrc.has_partition_key(p_event_stream, p_event_tags, p_partition_tag, p_partition, p_partitions)
    end)
    and (p_tags is null or p_event_tags @> p_tags)
    and (p_stream_prefix is null or starts_with(p_event_stream, p_stream_prefix));

-- A row of a page of events: the high-water mark, and an event. An empty page is one row without an event.
-- A single row without a high-water mark means that the log does not have the event after which the page starts.
create type evsrc.event_page_row as (
  head bigint,
  "position" bigint,
  stream text,
  version bigint,
  type text,
  schema_version integer,
  id uuid,
  data json,
  metadata json,
  recorded_at timestamptz,
  tags text[],
  -- The id of the event at the high-water mark.
  head_id uuid,
  -- The number of events after p_since and up to the high-water mark, and the last position assigned after the mark was computed.
  since_events bigint,
  assigned bigint,
  -- The position up to which the page has examined the log, and the id of the event there; null if that is the high-water mark.
  scanned_to bigint,
  scanned_to_id uuid
);

-- Returns the hash of the tag with the fewest events after p_after, as far as counted. A search for events that have all of the tags
-- starts from it.
create function evsrc.most_selective_tag_hash(p_tags text[], p_after bigint) returns bigint language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  selective_hash bigint;
begin
  if cardinality(p_tags) = 1 then
    return hashtextextended(p_tags[1], 0);
  end if;
  select hash into selective_hash
    from unnest(p_tags) with ordinality as candidate(tag, ordinal), hashtextextended(candidate.tag, 0) as hash
    order by (
      select count(*) from (
        select from evsrc.event_tags tagged where tagged.tag_hash = hash and tagged.position > p_after limit 500
      ) as counted
    ), candidate.ordinal
    limit 1;
  return selective_hash;
end $$;

-- Returns up to which position a page examines the log that begins after p_after and may end at p_to, so that its time is bounded however
-- few events it finds: p_to, or the position of an earlier event. A page examines all events of at most p_scan positions. With a tag it
-- examines the events of a tenth as many entries in the index of tags, because they are not side by side. Its callers set the plan.
create function evsrc.scan_end(p_after bigint, p_to bigint, p_scan integer, p_tag_hash bigint) returns bigint language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  first_position bigint;
  scanned_to bigint;
begin
  if p_tag_hash is null then
    if p_to - p_after <= p_scan then
      return p_to;
    end if;
    -- Rolled-back positions leave gaps of any width.
    select event.position into first_position from evsrc.log event
      where event.position > p_after order by event.position limit 1;
    select event.position into scanned_to from evsrc.log event
      where event.position < first_position + p_scan order by event.position desc limit 1;
  elsif p_to - p_after > p_scan / 10 then
    select tagged.position into scanned_to from evsrc.event_tags tagged
      where tagged.tag_hash = p_tag_hash and tagged.position > p_after
      order by tagged.position
      offset greatest(p_scan / 10, 1) - 1 limit 1;
  end if;
  return least(scanned_to, p_to);
end $$;

-- Returns a page of the log: events after p_after, up to the high-water mark, that the filter selects (see matches_filter).
--   p_scan                           how many positions to examine at most (see scan_end)
--   p_after_id                       null, or the id that the event at p_after must have
--   p_after_since, p_after_events    null, or the number of events that the log must have after p_after_since and up to p_after
--   p_since                          null, or the position after which to count the events up to the high-water mark; at most 10,000
--                                    positions
--   p_final, p_final_id              null, or an earlier high-water mark of this log (see high_water_mark_after)
-- An event is lost without those at later positions only if it was committed after them. The number of the events before p_after tells.
create function evsrc.read_all(
  p_after bigint, p_limit integer, p_types text[], p_tags text[], p_stream_prefix text, p_partition integer, p_partitions integer,
  p_partition_tag text default null, p_after_id uuid default null, p_after_since bigint default null, p_after_events bigint default null,
  p_since bigint default null, p_scan integer default 20000, p_final bigint default null, p_final_id uuid default null
) returns setof evsrc.event_page_row language plpgsql volatile
-- One generic plan, which follows the index of positions, or that of tags and looks each event up. Other joins read the whole log.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set enable_hashjoin = off
set search_path = pg_catalog, pg_temp
as $$
declare
  high_water_mark bigint := evsrc.high_water_mark_after(p_final, p_final_id);
  high_water_mark_id uuid;
  events_since bigint;
  last_position bigint;
  selective_hash bigint;
  scan_end bigint;
  scan_end_id uuid;
  empty_page evsrc.event_page_row;
begin
  if p_after_id is not null and not evsrc.has_events(array[p_after], array[p_after_id]) then
    return next empty_page;
    return;
  end if;
  if p_after_events is not null then
    select count(*) into empty_page.since_events from evsrc.log event
      where event.position > p_after_since and event.position <= p_after;
    if empty_page.since_events <> p_after_events then
      return next empty_page;
      return;
    end if;
  end if;
  -- Positions above it are assigned after everything up to the high-water mark was committed.
  last_position := evsrc.last_assigned_position();
  if high_water_mark - p_since between 0 and 10000 then
    select count(*) into events_since from evsrc.log event
      where event.position > p_since and event.position <= high_water_mark;
  end if;
  select event.id into high_water_mark_id from evsrc.log event where event.position = high_water_mark;
  if p_tags is not null then
    selective_hash := evsrc.most_selective_tag_hash(p_tags, p_after);
  end if;
  -- Without a filter, p_limit is a bound already.
  if p_types is not null or p_tags is not null or p_stream_prefix is not null or p_partitions > 1 then
    scan_end := evsrc.scan_end(p_after, high_water_mark, p_scan, selective_hash);
  end if;
  if scan_end < high_water_mark then
    select event.id into scan_end_id from evsrc.log event where event.position = scan_end;
  else
    scan_end := null;
  end if;
  if p_tags is null then
    return query
      select high_water_mark, event.position, event.stream, event.version, event.type, event.schema_version, event.id, event.data,
          event.metadata, event.recorded_at, event.tags, high_water_mark_id, events_since, last_position, scan_end, scan_end_id
        from evsrc.log event
        where event.position > p_after and event.position <= coalesce(scan_end, high_water_mark)
          and evsrc.matches_filter(
            event.stream, event.type, event.tags, p_types, p_tags, p_stream_prefix, p_partition, p_partitions, p_partition_tag
          )
        order by event.position
        limit p_limit;
  else
    return query
      select high_water_mark, event.position, event.stream, event.version, event.type, event.schema_version, event.id, event.data,
          event.metadata, event.recorded_at, event.tags, high_water_mark_id, events_since, last_position, scan_end, scan_end_id
        from evsrc.event_tags tagged join evsrc.log event on event.position = tagged.position
        where tagged.tag_hash = selective_hash and tagged.position > p_after
          and tagged.position <= coalesce(scan_end, high_water_mark)
          and evsrc.matches_filter(
            event.stream, event.type, event.tags, p_types, p_tags, p_stream_prefix, p_partition, p_partitions, p_partition_tag
          )
        order by tagged.position
        limit p_limit;
  end if;
  if not found then
    empty_page.head := high_water_mark;
    empty_page.head_id := high_water_mark_id;
    empty_page.since_events := events_since;
    empty_page.assigned := last_position;
    empty_page.scanned_to := scan_end;
    empty_page.scanned_to_id := scan_end_id;
    return next empty_page;
  end if;
end $$;

-- A row of a page of stored events: the high-water mark, and an event byte for byte. An empty page is one row without an event.
create type evsrc.stored_page_row as (
  head bigint,
  "position" bigint,
  stream text,
  version bigint,
  type text,
  schema_version integer,
  id uuid,
  command_id text,
  command_events integer,
  data text,
  metadata text,
  recorded_at timestamptz,
  -- The microseconds of recorded_at below its millisecond; 0 if append wrote it.
  micros integer,
  tags text[],
  hash text,
  closes boolean,
  previous_version bigint,
  previous_hash text,
  -- Whether the log has the stream's version at an earlier position, too.
  repeats boolean
);

-- Returns a page of the log as it is stored, for exports and verification: events after p_after, up to the high-water mark.
--   p_links    whether to return, too, version and hash of the preceding event in the stream, and whether another row has the same version
--   p_visible  whether to return the visible events above the high-water mark, too
create function evsrc.read_stored(p_after bigint, p_limit integer, p_links boolean, p_visible boolean)
returns setof evsrc.stored_page_row language plpgsql volatile
-- As in read_all.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set search_path = pg_catalog, pg_temp
as $$
declare
  high_water_mark bigint := evsrc.high_water_mark();
  last_read bigint := case when p_visible then 9223372036854775807 else high_water_mark end;
  empty_page evsrc.stored_page_row;
begin
  return query
    select high_water_mark, event.position, event.stream, event.version, event.type, event.schema_version, event.id, event.command_id,
        event.command_events, event.data::text, event.metadata::text, event.recorded_at,
        extract(microseconds from event.recorded_at)::integer % 1000, event.tags, encode(event.hash, 'hex'), event.closes,
        preceding_event.version, encode(preceding_event.hash, 'hex'),
        p_links and exists (
          select from evsrc.log other
            where other.stream = event.stream and other.version = event.version and other.position < event.position
        )
      from evsrc.log event
        left join lateral (
          select earlier.version, earlier.hash from evsrc.log earlier
            where p_links and earlier.stream = event.stream and earlier.version < event.version
            order by earlier.version desc limit 1
        ) as preceding_event on true
      where event.position > p_after and event.position <= last_read
      order by event.position
      limit p_limit;
  if not found then
    empty_page.head := high_water_mark;
    return next empty_page;
  end if;
end $$;

-- Returns a hash of the correlation id in an event's metadata; null if it has none. A hash keeps the index small for ids of any
-- length; readers compare the id itself. PostgreSQL cannot convert some valid JSON to text, such as \u0000 anywhere in the
-- metadata. So every \u is first replaced by /u, which keeps the JSON valid, also after a backslash.
create function evsrc.correlation_hash(metadata json) returns bigint language sql immutable
return hashtextextended(replace(metadata::text, E'\\u', '/u')::json ->> 'correlationId', 0);

-- Creates the indexes that find events by correlation id, and an event by its id, without a scan of the log.
create function evsrc.create_causation_indexes() returns void language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  create index if not exists events_correlation on evsrc.events (evsrc.correlation_hash(metadata), position);
  create index if not exists events_id on evsrc.events (id);
  create index if not exists archived_events_correlation on evsrc.archived_events (evsrc.correlation_hash(metadata), position);
  create index if not exists archived_events_id on evsrc.archived_events (id);
end $$;

-- Returns a text as input of the hash: its length in bytes, then its bytes. A null has the length -1.
create function evsrc.hash_input(p_text text) returns bytea language sql stable
return coalesce(int4send(octet_length(convert_to(p_text, 'UTF8'))) || convert_to(p_text, 'UTF8'), int4send(-1));

-- Sets the hash of an event: SHA-256 of the preceding event's hash in the stream, and of everything stored in this event. As a row
-- trigger it applies to every way of inserting, and sees the rows that the same statement inserted before. src/event/EventHash.ts
-- computes the same hash to verify it.
create function evsrc.set_event_hash() returns trigger language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
  previous_hash bytea;
  tags_input bytea := int4send(0);
begin
  if new.hash is not null then
    -- A restored event keeps its hash, or the lack of one, because the next event's hash includes it. HashChain.verify checks it.
    return new;
  end if;
  -- Any session can have this setting. Only restore holds this lock, which needs more than the right to call append.
  if current_setting('event_store.restoring', true) = 'on' then
    -- In an IF of its own, because an expression with a subquery is not a simple one, and would cost as much as the hash.
    if exists (
      select from pg_locks
        where pid = pg_backend_pid() and locktype = 'relation' and relation = 'evsrc.events'::regclass and mode = 'ShareRowExclusiveLock'
          and database = (select oid from pg_database where datname = current_database())
    ) then
      return new;
    end if;
  end if;
  if new.version > 1 then
    select event.hash into previous_hash from evsrc.events event where event.stream = new.stream and event.version = new.version - 1;
    if not found then
      raise exception 'event % of stream % cannot be chained: the preceding event is missing', new.version, new.stream
        using hint = 'Restore data with its hashes: with triggers disabled, as pg_restore --disable-triggers does.';
    end if;
  end if;
  if new.tags is not null then
    select int4send(count(*)::integer) || coalesce(string_agg(evsrc.hash_input(tag), '' order by ordinal), '') into tags_input
      from unnest(new.tags) with ordinality as event_tag(tag, ordinal);
  end if;
  new.hash := sha256(
    evsrc.hash_input('evsrc/1')
    || coalesce(int4send(octet_length(previous_hash)) || previous_hash, int4send(-1))
    || evsrc.hash_input(new.stream) || int8send(new.version) || int8send(new.position)
    || evsrc.hash_input(new.id::text) || evsrc.hash_input(new.type) || int4send(new.schema_version)
    || int8send((extract(epoch from new.recorded_at) * 1000000)::bigint)
    || evsrc.hash_input(new.command_id) || int4send(coalesce(new.command_events, -1))
    || tags_input || evsrc.hash_input(new.data::text) || evsrc.hash_input(new.metadata::text)
    || int4send(coalesce(new.closes, false)::integer)
  );
  return new;
end $$;

-- Enables the hash chain, for all processes that append: every stream is chained from its next event on.
create function evsrc.enable_hash_chain() returns void language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from pg_trigger where tgrelid = 'evsrc.events'::regclass and tgname = 'events_hash_chain') then
    create trigger events_hash_chain before insert on evsrc.events for each row execute function evsrc.set_event_hash();
  end if;
end $$;

-- Returns the number of events after p_after and up to p_to that the filter selects (see matches_filter), counted up to p_limit, with the
-- time at which the first was recorded.
--   p_scan      how many positions to examine at most (see scan_end)
--   counted_to  the position up to which they were counted: p_to, or that of an earlier event
--   since       if none is among them, the time at which the next event of any kind was recorded; null if counted_to is p_to
create function evsrc.count_lag(
  p_after bigint, p_to bigint, p_limit integer, p_types text[], p_tags text[], p_stream_prefix text, p_partition integer,
  p_partitions integer, p_partition_tag text, p_scan integer default 20000
) returns table (events integer, since timestamptz, counted_to bigint) language plpgsql volatile
-- As in read_all.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set enable_hashjoin = off
set search_path = pg_catalog, pg_temp
as $$
declare
  selective_hash bigint;
  scan_end bigint := p_to;
  last_position bigint;
begin
  if p_tags is not null then
    selective_hash := evsrc.most_selective_tag_hash(p_tags, p_after);
  end if;
  if p_types is not null or p_tags is not null or p_stream_prefix is not null or p_partitions > 1 then
    scan_end := evsrc.scan_end(p_after, p_to, p_scan, selective_hash);
  end if;
  if p_tags is null then
    select count(*)::integer, min(waiting.recorded_at), max(waiting.position) into events, since, last_position
      from (
        select event.recorded_at, event.position from evsrc.log event
          where event.position > p_after and event.position <= scan_end
            and evsrc.matches_filter(
              event.stream, event.type, event.tags, p_types, p_tags, p_stream_prefix, p_partition, p_partitions, p_partition_tag
            )
          order by event.position
          limit p_limit
      ) as waiting;
  else
    select count(*)::integer, min(waiting.recorded_at), max(waiting.position) into events, since, last_position
      from (
        select event.recorded_at, event.position
          from evsrc.event_tags tagged join evsrc.log event on event.position = tagged.position
          where tagged.tag_hash = selective_hash and tagged.position > p_after and tagged.position <= scan_end
            and evsrc.matches_filter(
              event.stream, event.type, event.tags, p_types, p_tags, p_stream_prefix, p_partition, p_partitions, p_partition_tag
            )
          order by tagged.position
          limit p_limit
      ) as waiting;
  end if;
  counted_to := case when events >= p_limit then last_position else scan_end end;
  if events = 0 and counted_to < p_to then
    select event.recorded_at into since from evsrc.log event
      where event.position > counted_to and event.position <= p_to
      order by event.position
      limit 1;
  end if;
  return next;
end $$;

-- Returns the partitions to which the keys of an event belong (see has_partition_key).
create function evsrc.partitions_of(p_stream text, p_tags text[], p_tag text, p_partitions integer) returns integer[] language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
  found integer[] := '{}';
  tag text;
  partition integer;
begin
  foreach tag in array coalesce(p_tags, '{}') loop
    if starts_with(tag, p_tag || ':') then
      partition := (hashtextextended(tag collate "C", 0) & 2147483647) % p_partitions;
      if partition <> all (found) then
        found := found || partition;
      end if;
    end if;
  end loop;
  return case when found = '{}' then array[((hashtextextended(p_stream collate "C", 0) & 2147483647) % p_partitions)::integer] else found end;
end $$;

-- Returns the same as count_lag for each of several partitions, in the order in which they are given, and the position of the first event.
-- Partitions that are near to each other are counted in one pass over the log. Each further pass is shorter, so that the time is bounded
-- however many partitions are far from the others.
--   p_indexes, p_afters  the partitions and their checkpoints; all events are for each of them if p_partitions is 1
create function evsrc.count_lags(
  p_indexes integer[], p_afters bigint[], p_to bigint, p_limit integer, p_types text[], p_tags text[], p_stream_prefix text,
  p_partitions integer, p_partition_tag text, p_scan integer
) returns table (ordinal bigint, events integer, since timestamptz, counted_to bigint, first_position bigint) language plpgsql volatile
-- As in read_all.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set enable_hashjoin = off
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  pass integer := 0;
  starts_after bigint := (select min(after) from unnest(p_afters) as after);
  selective_hash bigint;
  ends_at bigint;
  next_at timestamptz;
begin
  while starts_after is not null loop
    pass := pass + 1;
    selective_hash := case when p_tags is not null then evsrc.most_selective_tag_hash(p_tags, starts_after) end;
    ends_at := evsrc.scan_end(starts_after, p_to, greatest(p_scan / pass, 1), selective_hash);
    next_at := null;
    if ends_at < p_to then
      select event.recorded_at into next_at from evsrc.log event
        where event.position > ends_at and event.position <= p_to order by event.position limit 1;
    end if;
    return query
      with examined as (
        select event.position, event.recorded_at, event.stream, event.tags from evsrc.log event
          where p_tags is null and event.position > starts_after and event.position <= ends_at
            and evsrc.matches_filter(event.stream, event.type, event.tags, p_types, p_tags, p_stream_prefix, 0, 1, null)
        union all
        select event.position, event.recorded_at, event.stream, event.tags
          from evsrc.event_tags tagged join evsrc.log event on event.position = tagged.position
          where p_tags is not null and tagged.tag_hash = selective_hash and tagged.position > starts_after and tagged.position <= ends_at
            and evsrc.matches_filter(event.stream, event.type, event.tags, p_types, p_tags, p_stream_prefix, 0, 1, null)
      ), waiting as (
        select position, recorded_at, unnest(case
            when p_partitions = 1 then '{0}'
            when p_partition_tag is null then array[((hashtextextended(stream collate "C", 0) & 2147483647) % p_partitions)::integer]
            else evsrc.partitions_of(stream, tags, p_partition_tag, p_partitions)
          end) as index
          from examined
      ), by_partition as (
        select index, array_agg(position order by position) as positions, array_agg(recorded_at order by position) as times
          from waiting group by index
      ), counted as (
        select wanted.ordinal, least(coalesce(cardinality(found.positions) - before.number, 0), p_limit) as events,
            found.positions, found.times, before.number
          from unnest(p_indexes, p_afters) with ordinality as wanted(index, after, ordinal)
            left join by_partition found on found.index = case when p_partitions = 1 then 0 else wanted.index end
            left join lateral width_bucket(wanted.after, found.positions) as before(number) on true
          where wanted.after >= starts_after and (wanted.after < ends_at or ends_at >= p_to)
      )
      select ordinal, events, case when events > 0 then times[number + 1] else next_at end,
          case when events >= p_limit then positions[number + events] else ends_at end, positions[number + 1]
        from counted;
    starts_after := case when ends_at < p_to then (select min(after) from unnest(p_afters) as after where after >= ends_at) end;
  end loop;
end $$;

-- The types of the events in the log, by the categories of their streams, as count_event_types has counted them. At most 1,000
-- categories: the events of all others are under the category ''. A log whose streams have no categories has one for each stream.
create table evsrc.event_types (
  category text collate "C" not null,
  type text collate "C" not null,
  first_position bigint not null,
  events bigint not null,
  -- The number of events of each schema version, and of those that have a tag of each name: {"1:": 15, "1:guest": 12}.
  versions jsonb not null default '{}',
  primary key (category, type)
);

-- How far they are counted: the position of an event, and its id.
create table evsrc.event_types_counted (
  one boolean primary key default true check (one),
  "position" bigint not null,
  event_id uuid
);
insert into evsrc.event_types_counted ("position") values (0);

-- Returns the names of an event's tags, each once. A tag is <name>:<value>.
create function evsrc.tag_names(p_tags text[]) returns text[] language sql immutable
return array(
    select distinct split_part(tag, ':', 1) as name from unnest(p_tags) as tag where position(':' in tag) > 1 order by 1
  );

-- Counts the events by their types, schema versions and names of tags, up to the high-water mark or p_limit events further than before, and
-- returns the types, how far they are counted, and the mark. Appends do nothing for it. It runs as its owner, so that every role that may read the log can call it.
create function evsrc.count_event_types(p_limit integer)
returns table (counted_to bigint, head bigint, category text, type text, first_position bigint, events bigint, versions jsonb)
language plpgsql volatile security definer
-- As in read_all.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  high_water_mark bigint := evsrc.high_water_mark();
  last_position bigint;
  last_id uuid;
  next_position bigint;
begin
  select counted."position", counted.event_id into last_position, last_id from evsrc.event_types_counted counted
    for update skip locked;
  if not found then
    -- Another transaction is counting.
    return query
      select counted."position", high_water_mark, known.category, known.type, known.first_position, known.events, known.versions
        from evsrc.event_types_counted counted left join evsrc.event_types known on true;
    return;
  end if;
  if last_position > 0 and not evsrc.has_events(array[last_position], array[last_id]) then
    -- The log was set back.
    delete from evsrc.event_types;
    last_position := 0;
  end if;
  select max(event."position") into next_position from (
    select log."position" from evsrc.log log
      where log."position" > last_position and log."position" <= high_water_mark
      order by log."position"
      limit p_limit
  ) as event;
  if next_position is not null then
    -- One pass: few of the events differ in these.
    with kinds as materialized (
      select split_part(event.stream, '-', 1) as category, event.type, event.schema_version, tagged.names,
          min(event."position") as first_position, count(*) as events
        from evsrc.log event cross join lateral (select case when event.tags is not null then evsrc.tag_names(event.tags) end as names) as tagged
        where event."position" > last_position and event."position" <= next_position
        group by 1, 2, 3, 4
    ), counted as (
      select kinds.category, kinds.type, min(kinds.first_position) as first_position, sum(kinds.events) as events from kinds group by 1, 2
    ), added as (
      select counted.category, row_number() over (order by min(counted.first_position)) as number
        from counted
        where not exists (select from evsrc.event_types known where known.category = counted.category)
        group by counted.category
    ), room as (
      select 1000 - count(distinct known.category) as categories from evsrc.event_types known where known.category <> ''
    ), placed as (
      select counted.category as own_category, case when added.number > room.categories then '' else counted.category end as category,
          counted.type, counted.first_position, counted.events
        from counted cross join room left join added on added.category = counted.category
    ), named as (
      -- The empty name counts the events.
      select kinds.category, kinds.type, kinds.schema_version || ':' || name as name, sum(kinds.events) as events
        from kinds cross join unnest(coalesce(kinds.names, '{}') || ''::text) as name
        group by 1, 2, 3
    ), names as (
      select placed.category, placed.type, named.name, sum(named.events) as events
        from named join placed on placed.own_category = named.category and placed.type = named.type
        group by 1, 2, 3
    ), versions as (
      select names.category, names.type, jsonb_object_agg(names.name, names.events) as versions from names group by 1, 2
    ), total as (
      select placed.category, placed.type, min(placed.first_position) as first_position, sum(placed.events) as events
        from placed group by 1, 2
    )
    insert into evsrc.event_types as known (category, type, first_position, events, versions)
      select total.category, total.type, total.first_position, total.events, versions.versions
        from total join versions on versions.category = total.category and versions.type = total.type
      on conflict (category, type) do update set events = known.events + excluded.events, versions = (
        select jsonb_object_agg(sums.name, sums.events) from (
          select one.name, sum(one.events::bigint) as events
            from (select * from jsonb_each_text(known.versions) union all select * from jsonb_each_text(excluded.versions)) as one(name, events)
            group by one.name
        ) as sums
      );
    last_position := next_position;
  end if;
  update evsrc.event_types_counted set "position" = last_position,
    event_id = (select event.id from evsrc.log event where event."position" = last_position)
    where "position" <> last_position;
  return query
    select last_position, high_water_mark, known.category, known.type, known.first_position, known.events, known.versions
      from (select) as always left join evsrc.event_types known on true;
end $$;

-- Counts the visible events after p_after, also above the high-water mark, as count_event_types does, and stores nothing.
create function evsrc.count_visible_event_types(p_after bigint)
returns table (category text, type text, first_position bigint, events bigint, versions jsonb) language sql stable
-- As in read_all.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set search_path = pg_catalog, pg_temp
as $$
  with kinds as materialized (
    select split_part(event.stream, '-', 1) as category, event.type, event.schema_version, tagged.names,
        min(event."position") as first_position, count(*) as events
      from evsrc.log event cross join lateral (select case when event.tags is not null then evsrc.tag_names(event.tags) end as names) as tagged
      where event."position" > p_after
      group by 1, 2, 3, 4
  ), named as (
    select kinds.category, kinds.type, kinds.schema_version || ':' || name as name, min(kinds.first_position) as first_position,
        sum(kinds.events) as events
      from kinds cross join unnest(coalesce(kinds.names, '{}') || ''::text) as name
      group by 1, 2, 3
  )
  select named.category, named.type, min(named.first_position), (sum(named.events) filter (where named.name like '%:'))::bigint,
      jsonb_object_agg(named.name, named.events)
    from named group by 1, 2
$$;

-- Returns the events after p_after that match a query (see query_items) and are visible now, with the high-water mark of just before.
-- Below an event above that mark another event may still appear. A condition on what was read therefore names the mark, and the
-- positions already seen above it. A page that examines only a part of the log (see scan_end) ends at or below the mark.
--   p_basis_positions, p_basis_ids  null, or events that the log must have; otherwise the page has no high-water mark
--   p_final, p_final_id             null, or an earlier high-water mark of this log (see high_water_mark_after)
--   p_high_water_mark               null, or a high-water mark that the caller's statement has read: queries of one statement share it
create function evsrc.read_query(
  p_item_count integer, p_type_items integer[], p_types text[], p_tag_items integer[], p_tags text[], p_after bigint, p_limit integer,
  p_scan integer default 20000, p_basis_positions bigint[] default null, p_basis_ids uuid[] default null, p_final bigint default null,
  p_final_id uuid default null, p_high_water_mark bigint default null
) returns setof evsrc.event_page_row language plpgsql volatile
-- As in append: one generic plan of index lookups.
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_mergejoin = off
set enable_hashjoin = off
set search_path = pg_catalog, pg_temp
as $$
declare
  high_water_mark bigint := coalesce(p_high_water_mark, evsrc.high_water_mark_after(p_final, p_final_id));
  high_water_mark_id uuid;
  empty_page evsrc.event_page_row;
  items evsrc.query_item[] := evsrc.query_items(p_item_count, p_type_items, p_types, p_tag_items, p_tags);
  selective_hashes bigint[];
  scan_end bigint;
  scan_end_id uuid;
  last_position constant bigint := 9223372036854775807;
begin
  if p_basis_positions is not null and not evsrc.has_events(p_basis_positions, p_basis_ids) then
    return next empty_page;
    return;
  end if;
  select event.id into high_water_mark_id from evsrc.log event where event.position = high_water_mark;
  if not exists (select from unnest(items) as item where cardinality(item.tags) = 0) then
    select array_agg(evsrc.most_selective_tag_hash(item.tags, p_after) order by item.ordinal) into selective_hashes
      from unnest(items) with ordinality as item(types, tags, ordinal);
    -- A tag has no more entries than there are positions.
    if high_water_mark - p_after > p_scan / 10 then
      -- All entries of a tag match an item that names nothing else, so p_limit is a bound already.
      select min(evsrc.scan_end(p_after, high_water_mark, p_scan, item.tag_hash)) into scan_end
        from unnest(items, selective_hashes) as item(types, tags, tag_hash)
        where cardinality(item.types) > 0 or cardinality(item.tags) > 1;
    end if;
    if scan_end < high_water_mark then
      select event.id into scan_end_id from evsrc.log event where event.position = scan_end;
    else
      scan_end := null;
    end if;
    return query
      select high_water_mark, found_event.position, found_event.stream, found_event.version, found_event.type,
          found_event.schema_version, found_event.id, found_event.data, found_event.metadata, found_event.recorded_at, found_event.tags,
          high_water_mark_id, null::bigint, null::bigint, scan_end, scan_end_id
        from (
          -- Reads of each item no more events than the page holds, in order, because a tag may have a million events.
          select distinct on (match.position) match.position, match.stream, match.version, match.type, match.schema_version, match.id,
              match.data, match.metadata, match.recorded_at, match.tags
            from unnest(items, selective_hashes) as item(types, tags, tag_hash)
              cross join lateral (
                select event.position, event.stream, event.version, event.type, event.schema_version, event.id, event.data,
                    event.metadata, event.recorded_at, event.tags
                  from evsrc.event_tags tagged join evsrc.log event on event.position = tagged.position
                  where tagged.tag_hash = item.tag_hash and tagged.position > p_after
                    and tagged.position <= coalesce(scan_end, last_position)
                    and event.tags @> item.tags and (cardinality(item.types) = 0 or event.type = any (item.types))
                  order by tagged.position
                  limit p_limit
              ) as match
            order by match.position
            limit p_limit
        ) as found_event;
  else
    scan_end := evsrc.scan_end(p_after, high_water_mark, p_scan, null);
    if scan_end < high_water_mark then
      select event.id into scan_end_id from evsrc.log event where event.position = scan_end;
    else
      scan_end := null;
    end if;
    return query
      select high_water_mark, event.position, event.stream, event.version, event.type, event.schema_version, event.id, event.data,
          event.metadata, event.recorded_at, event.tags, high_water_mark_id, null::bigint, null::bigint, scan_end, scan_end_id
        from evsrc.log event
        where event.position > p_after and event.position <= coalesce(scan_end, last_position)
          and exists (select 1 from unnest(items) as item
            where (cardinality(item.tags) = 0 or event.tags @> item.tags)
              and (cardinality(item.types) = 0 or event.type = any (item.types)))
        order by event.position
        limit p_limit;
  end if;
  if not found then
    empty_page.head := high_water_mark;
    empty_page.head_id := high_water_mark_id;
    empty_page.scanned_to := scan_end;
    empty_page.scanned_to_id := scan_end_id;
    return next empty_page;
  end if;
end $$;

-- Moves the events of a closed stream from evsrc.events to evsrc.archived_events, in one statement, so that every reader finds each
-- event in exactly one of them. Returns the number of events moved: 0 if the stream was archived before, null if it is not closed.
create function evsrc.archive(p_stream text, p_archived_at timestamptz) returns bigint language plpgsql volatile security definer
set lock_timeout = '5s'
set search_path = pg_catalog, pg_temp, pg_catalog
as $$
declare
  closed_version bigint;
  already_archived boolean;
  moved bigint;
begin
  perform evsrc.require_read_committed();
  -- The lock that an append takes on the stream. It also prevents that two calls archive the same stream.
  perform pg_advisory_xact_lock('evsrc.events'::regclass::oid::integer, hashtext(p_stream));
  select closed.version, closed.archived_at is not null into closed_version, already_archived
    from evsrc.closed_streams closed where closed.stream = p_stream;
  if not found then
    return null;
  end if;
  if already_archived then
    return 0;
  end if;
  update evsrc.closed_streams closed set archived_at = p_archived_at where closed.stream = p_stream;
  with moving as (
    delete from evsrc.events event where event.stream = p_stream
      returning position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at,
        tags, hash, closes
  )
  insert into evsrc.archived_events (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata,
      recorded_at, tags, hash, closes)
    select position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at,
        tags, hash, closes
      from moving;
  get diagnostics moved = row_count;
  if moved <> closed_version then
    raise exception 'stream "%" is closed at version % but has % events', p_stream, closed_version, moved
      using errcode = 'data_corrupted';
  end if;
  return moved;
end $$;

-- Writes events exactly as they were in another log: with their positions, versions, ids and times. Appends wait meanwhile.
--   p_after  the position of the last event in this log
-- One element per event, in the order of their positions:
--   p_positions to p_closes  p_tags as for `append`, p_hashes in hexadecimal digits
-- Returns an outcome:
--   'restored'
--   'wrong_end'  this log does not end at p_after, but at the returned position
--   'in_use'     an append of another session is in flight
--   'rejected'   because of the event at the returned position; detail says why
create function evsrc.restore(
  p_after bigint, p_positions bigint[], p_streams text[], p_versions bigint[], p_event_ids uuid[], p_types text[],
  p_schema_versions integer[], p_command_ids text[], p_command_events integer[], p_data text[], p_metadata text[],
  p_recorded_at timestamptz[], p_tags text[], p_hashes text[], p_closes boolean[],
  out outcome text, out "position" bigint, out detail text
) language plpgsql volatile security definer
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set lock_timeout = '5s'
set search_path = pg_catalog, pg_temp, pg_catalog
as $$
#variable_conflict use_column
begin
  perform evsrc.require_read_committed();
  -- Before the lock of the table, as an append does: nobody registers an inline projection of these types meanwhile, and a decision on these tags
  -- has either appended, or looks for matches after this transaction.
  perform evsrc.lock_condition_keys(p_types, p_tags, null, evsrc.end_of_lock_wait());
  -- An append that has drawn its positions either has inserted before this lock, or inserts after this transaction.
  lock table evsrc.events in share row exclusive mode;
  position := coalesce((select max(event."position") from evsrc.log event), 0);
  if position <> p_after then
    outcome := 'wrong_end';
    return;
  end if;
  with incoming as materialized (
    select event.position, event.stream, event.version, event.command_id, event.ordinal,
        lag(event.position, 1, p_after) over (order by event.ordinal) as previous_position,
        lag(event.version) over in_stream as previous_version,
        lag(event.closes) over in_stream as previous_closes,
        row_number() over (partition by event.command_id order by event.ordinal) as command_use
      from unnest(p_positions, p_streams, p_versions, p_command_ids, p_closes) with ordinality
        as event(position, stream, version, command_id, closes, ordinal)
      window in_stream as (partition by event.stream order by event.ordinal)
  )
  select checked.position, checked.reason into position, detail
    from (
      select incoming.position, incoming.ordinal, case
          when incoming.position <= incoming.previous_position then 'its position is not after ' || incoming.previous_position
          when coalesce(incoming.previous_closes, stored.closes, false) then 'its stream was closed before'
          when incoming.version <> coalesce(incoming.previous_version, stored.version, 0) + 1
            then 'its stream is at version ' || coalesce(incoming.previous_version, stored.version, 0)
              || ', so its version cannot be ' || incoming.version
          when incoming.command_id is not null and (
            incoming.command_use > 1
            or (select true from evsrc.log event where event.command_id = incoming.command_id limit 1) is true
          ) then 'its command id was used before'
        end as reason
        from incoming left join lateral (
          select event.version, event.closes from evsrc.log event
            where incoming.previous_version is null and event.stream = incoming.stream
            order by event.version desc limit 1
        ) as stored on true
    ) as checked
    where checked.reason is not null
    order by checked.ordinal
    limit 1;
  if detail is not null then
    outcome := 'rejected';
    return;
  end if;
  outcome := 'restored';
  position := p_positions[cardinality(p_positions)];
  if position > evsrc.last_assigned_position() then
    perform setval('evsrc.positions', position);
  end if;
  -- An append that waits for the lock may have drawn a position between those of these events, and its condition does not know them. One
  -- that draws its positions from now on gets later ones.
  if exists (select from evsrc.in_flight_appends() in_flight where in_flight.pid is distinct from pg_backend_pid()) then
    outcome := 'in_use';
    return;
  end if;
  -- Read by set_event_hash.
  perform set_config('event_store.restoring', 'on', true);
  insert into evsrc.events (position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at,
      tags, hash, closes)
    select event.position, event.stream, event.version, event.type, event.schema_version, event.id, event.command_id, event.command_events,
        event.data::json, event.metadata::json, event.recorded_at, event.tags::text[], decode(event.hash, 'hex'), event.closes
      from unnest(p_positions, p_streams, p_versions, p_types, p_schema_versions, p_event_ids, p_command_ids, p_command_events, p_data,
          p_metadata, p_recorded_at, p_tags, p_hashes, p_closes)
        as event(position, stream, version, type, schema_version, id, command_id, command_events, data, metadata, recorded_at, tags,
          hash, closes);
  perform set_config('event_store.restoring', 'off', true);
  perform evsrc.record_inline_gaps(p_streams, p_positions, p_types, p_tags, null, true);
  insert into evsrc.closed_streams (stream, version, "position", closed_at)
    select event.stream, event.version, event.position, event.recorded_at
      from unnest(p_streams, p_versions, p_positions, p_recorded_at, p_closes) as event(stream, version, position, recorded_at, closes)
      where event.closes is true;
  insert into evsrc.event_tags (tag_hash, position)
    select distinct hashtextextended(tag, 0), event.position
      from unnest(p_positions, p_tags) as event(position, tags), unnest(event.tags::text[]) as tag;
end $$;

-- Computes event_tags again from the tags of the events, and returns the number of rows. Call it after a restore on a server whose
-- hash function differs: another processor architecture, another major version, or a dump of a database with another encoding.
-- Appends wait meanwhile; readers see the old rows until it commits. It is the only function that replaces rows of event_tags. It
-- disables their trigger, so only the owner of the table may call it.
--
-- If the hashes differ indeed (see hash_check), streams and tags belong to other partitions than before. A generation whose partitions
-- have not all the same checkpoint would skip events and process others twice, so it can no longer be claimed until it is rebuilt. The
-- keys of documents stay where they are: partitionOf in src/core/partitionHash.ts hashes them, not the server.
create function evsrc.rebuild_event_tags() returns bigint language plpgsql volatile
set search_path = pg_catalog, pg_temp, pg_catalog
as $$
declare
  written bigint;
begin
  perform evsrc.require_read_committed();
  -- The lock order of an append: first events, then event_tags, which ALTER TABLE locks in the same mode. It waits for appends in
  -- flight; the later statements see their events. Archiving waits too.
  lock table evsrc.events in share row exclusive mode;
  alter table evsrc.event_tags disable trigger event_tags_immutable;
  -- Not TRUNCATE: a reader with an older snapshot would find the table empty.
  delete from evsrc.event_tags;
  insert into evsrc.event_tags (tag_hash, position)
    select distinct hashtextextended(tag, 0), event.position
      from evsrc.log event, unnest(event.tags) as tag;
  get diagnostics written = row_count;
  alter table evsrc.event_tags enable trigger event_tags_immutable;
  update evsrc.hash_check set hash = hashtextextended(sample, 0) where hash <> hashtextextended(sample, 0);
  if found then
    update evsrc.checkpoints checkpoint set partitions = 0, epoch = checkpoint.epoch + 1, owner = null, leased_until = null
      where checkpoint.generation in (
        select mixed.generation from evsrc.checkpoints mixed
          where mixed.partitioned_by not in ('document', 'instance')
          group by mixed.generation having count(distinct mixed.position) > 1 or max(mixed.former_to) > min(mixed.position)
      );
  end if;
  return written;
end $$;

-- They run as the owner of the tables, so a role that calls them needs no right to write.
revoke execute on function evsrc.append, evsrc.append_one, evsrc.lock_stream, evsrc.archive, evsrc.restore from public;

insert into evsrc.migrations (migration_id, name) values (1, '0001_event_store') on conflict do nothing;
