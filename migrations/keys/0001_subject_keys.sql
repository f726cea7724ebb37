-- The keys of personal data. Best in a database of its own, whose backups are kept no longer than an erasure may take: what is restored from
-- one has the keys again that were erased since. Run by PgKeyStore, or by hand with psql. Where the schema is to have another name, replace
-- `evsrc_keys` throughout.
create schema if not exists evsrc_keys;

create table if not exists evsrc_keys.migrations (
  migration_id integer primary key,
  created_at timestamptz not null default now(),
  name text not null
);

create table evsrc_keys.subject_keys (
  subject text collate "C" primary key,
  -- 32 bytes, for AES-256-GCM; null as soon as the subject was erased. The row stays, so that it never gets another key.
  key bytea check (octet_length(key) = 32),
  created_at timestamptz not null default clock_timestamp(),
  erased_at timestamptz,
  constraint key_or_erased check ((key is null) = (erased_at is not null))
);

-- How many subjects were erased: one row. Whoever keeps keys in memory looks whether it has changed.
create table evsrc_keys.erasures (
  one boolean primary key default true check (one),
  erased bigint not null
);
insert into evsrc_keys.erasures (erased) values (0);

-- The keys of subjects, and how many erasures there were. One row at least, which may have nothing but that number.
create function evsrc_keys.find_keys(a_subject text[])
returns table (erased bigint, subject text, key bytea, erased_at timestamptz) language sql stable as $$
  select e.erased, k.subject, k.key, k.erased_at
    from evsrc_keys.erasures e left join evsrc_keys.subject_keys k on k.subject = any (a_subject)
$$;

-- The same; a subject that has no key gets the one at its place. Subjects come in order, so that two who offer keys do not block each other.
create function evsrc_keys.find_or_create_keys(a_subject text[], a_key bytea[])
returns table (erased bigint, subject text, key bytea, erased_at timestamptz) language plpgsql volatile as $$
begin
  insert into evsrc_keys.subject_keys (subject, key)
    select s, k from unnest(a_subject, a_key) as u(s, k)
    on conflict do nothing;
  -- A statement of its own: it sees the key that another has won with.
  return query select * from evsrc_keys.find_keys(a_subject);
end $$;

-- Deletes the key of a subject, and answers when that was first done. There need not have been one.
create function evsrc_keys.erase_key(a_subject text) returns timestamptz language plpgsql volatile as $$
declare
  erased_then timestamptz;
begin
  insert into evsrc_keys.subject_keys as k (subject, key, erased_at)
    values (a_subject, null, date_trunc('milliseconds', clock_timestamp()))
    on conflict on constraint subject_keys_pkey do update set key = null, erased_at = excluded.erased_at
      where k.key is not null
    returning k.erased_at into erased_then;
  if found then
    update evsrc_keys.erasures set erased = erased + 1;
  else
    select k.erased_at into erased_then from evsrc_keys.subject_keys k where k.subject = a_subject;
  end if;
  return erased_then;
end $$;

insert into evsrc_keys.migrations (migration_id, name) values (1, '0001_subject_keys') on conflict do nothing;
