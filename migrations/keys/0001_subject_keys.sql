-- The encryption keys of personal data. Keep them in a database of their own, and keep its backups no longer than an erasure may
-- take: a restored backup brings back the keys that were erased after it. PgKeyStore runs this file; psql can run it too. To use
-- another schema name, replace `evsrc_keys` wherever a dot or a semicolon follows it.
create schema if not exists evsrc_keys;

create table if not exists evsrc_keys.migrations (
  migration_id integer primary key,
  created_at timestamptz not null default now(),
  name text not null,
  -- Of the text of the file. Null if the file was run by hand.
  checksum text
);
-- PgMigrations creates the table before it runs this file, without the column.
alter table evsrc_keys.migrations add column if not exists checksum text;

create table evsrc_keys.subject_keys (
  subject text collate "C" primary key,
  -- 32 bytes, for AES-256-GCM; null after the erasure. The row stays, so that the subject never gets another key.
  key bytea check (octet_length(key) = 32),
  created_at timestamptz not null default clock_timestamp(),
  erased_at timestamptz,
  constraint key_or_erased check ((key is null) = (erased_at is not null))
);

-- The id of the last erasure, in a single row. A process that caches keys compares it to notice an erasure, or that a backup was
-- restored. A number would not do: erasures that are repeated after a restore come to the same number.
create table evsrc_keys.erasures (
  one boolean primary key default true check (one),
  last_erasure uuid not null default gen_random_uuid()
);
insert into evsrc_keys.erasures default values;

-- Returns the keys of subjects, each with the id of the last erasure; at least one row, which then has only that id.
create function evsrc_keys.find_keys(p_subjects text[])
returns table (last_erasure text, subject text, key bytea, erased_at timestamptz) language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select erasures.last_erasure::text, subject_keys.subject, subject_keys.key, subject_keys.erased_at
    from evsrc_keys.erasures left join evsrc_keys.subject_keys on subject_keys.subject = any (p_subjects)
$$;

-- Returns the keys of subjects, after a subject without a key has got the offered one. The subjects must be sorted, so that two
-- callers cannot deadlock.
--   p_subjects, p_keys  one element per subject
create function evsrc_keys.find_or_create_keys(p_subjects text[], p_keys bytea[])
returns table (last_erasure text, subject text, key bytea, erased_at timestamptz) language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into evsrc_keys.subject_keys (subject, key)
    select offered.subject, offered.key from unnest(p_subjects, p_keys) as offered(subject, key)
    on conflict do nothing;
  -- A separate statement: it sees the key that another caller has inserted first.
  return query select found_keys.last_erasure, found_keys.subject, found_keys.key, found_keys.erased_at
    from evsrc_keys.find_keys(p_subjects) as found_keys;
end $$;

-- Deletes the key of a subject, whether or not it had one, and returns the time of the first erasure.
create function evsrc_keys.erase_key(p_subject text) returns timestamptz language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  first_erased_at timestamptz;
begin
  insert into evsrc_keys.subject_keys as stored (subject, key, erased_at)
    values (p_subject, null, date_trunc('milliseconds', clock_timestamp()))
    on conflict on constraint subject_keys_pkey do update set key = null, erased_at = excluded.erased_at
      where stored.key is not null
    returning stored.erased_at into first_erased_at;
  if found then
    update evsrc_keys.erasures set last_erasure = gen_random_uuid();
  else
    select stored.erased_at into first_erased_at from evsrc_keys.subject_keys stored where stored.subject = p_subject;
  end if;
  return first_erased_at;
end $$;

insert into evsrc_keys.migrations (migration_id, name) values (1, '0001_subject_keys') on conflict do nothing;
