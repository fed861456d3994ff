CREATE COLLECTION docs KIND vector.turbo DIM 384
CREATE COLLECTION docs KIND vector.turbo DIM 384;
create collection docs kind vector.turbo dim 384 metric cosine
CREATE COLLECTION IF NOT EXISTS docs KIND vector.turbo DIM 384 METRIC l2 WITH (bits = 4, m = 16)
CREATE COLLECTION "Docs" KIND "Vector"."Turbo" DIM 1
CREATE COLLECTION docs KIND "vector.turbo" DIM 1
CREATE COLLECTION docs KIND vector."select" DIM 1
CREATE COLLECTION docs KIND flat DIM 0008
CREATE COLLECTION if KIND kind DIM 8 METRIC metric
CREATE COLLECTION IF NOT EXISTS exists KIND dim DIM 8
CREATE COLLECTION collection KIND a.b.c DIM 8192 WITH (with_ = with_, "WITH" = "With")
CREATE COLLECTION docs KIND x DIM 3 WITH (a = 1, b = -2, c = +3, d = 1.5, e = 'text', f = TRUE, g = false, h = NULL)
CREATE COLLECTION docs KIND x DIM 3 WITH (a = word, b = metric, c = "Word", d = $1, e = :name)
CREATE /* a comment */ COLLECTION docs KIND x DIM 3 -- and another that takes the rest of the line
CREATE COLLECTION"docs"KIND"x"DIM 3 WITH(a=1)
DROP COLLECTION docs
DROP COLLECTION IF EXISTS docs
drop collection if exists "Docs";
DROP COLLECTION if
DROP COLLECTION IF EXISTS if
DROP COLLECTION "a ""quoted"" name"
DROP COLLECTION _private_1
DROP COLLECTION "ünïcödé"
DROP COLLECTION "1st"
DROP COLLECTION "a.b"
DROP COLLECTION "with -- no comment"
DROP COLLECTION "with ; no end"
DROP COLLECTION "SELECT"
SHOW COLLECTIONS
show collections;
ShOw CoLlEcTiOnS ;
SHOW COLLECTION docs
SHOW COLLECTION collections
SHOW COLLECTION "from"
INSERT INTO docs (id, vector) VALUES (1, [0.1, 0.2])
INSERT INTO docs (id, vector, title) VALUES (1, [0.1, -2, 3e-4], 'one'), (2, [1, 2, 3], 'two');
INSERT INTO docs (id, vector, title, year) VALUES ($1, $2, 'x', 2001)
INSERT INTO docs (id, vector) VALUES (?, ?), (?, ?)
INSERT INTO docs (id, vector) VALUES (:id, :vector)
INSERT INTO docs (id, vector) VALUES (:id, $1)
UPSERT INTO docs (id, vector) VALUES (-7, [1])
upsert into docs (id, tags) values ('seven', ['a', 'b'])
INSERT INTO docs (id, tags) VALUES (1, [])
INSERT INTO docs (id, tags) VALUES (1, [ ])
INSERT INTO docs (id, tags) VALUES (1, ['a'])
INSERT INTO docs (id, tags) VALUES (1, [1, 'a', NULL, TRUE, 1.5, $1])
INSERT INTO docs (id, tags) VALUES (1, [['a', 'b'], [1, 2], []])
INSERT INTO docs (id, tags) VALUES (1, [$1, $2])
INSERT INTO docs (id, tags) VALUES (1, [TRUE, FALSE])
INSERT INTO docs (id, vector) VALUES (1, [1, /* the second */ 2])
INSERT INTO docs (id, vector) VALUES (1, [.5, 1., +1, -.5, 1E5, 1e+5, -1.e-5, 0, -0])
INSERT INTO docs (id, vector) VALUES (1,[1,2,3]),(2,[ 1 , 2 , 3 ])
INSERT INTO docs (id, vector) VALUES (1, [3.4028235e38, -3.4028235e38, 1e-45, 1e-400, 1.1754944e-38])
INSERT INTO docs (id, a, b, c, d) VALUES (1, NULL, true, FALSE, null)
INSERT INTO docs (id, a) VALUES (9223372036854775807, -9223372036854775808)
INSERT INTO docs (id, a) VALUES (1, 'it''s'), (2, ''), (3, ''''), (4, 'a;b'), (5, '-- no'), (6, '/* no */'), (7, 'ü☃')
INSERT INTO docs (id, a) VALUES (1, 1e308), (2, -1e-308), (3, 0.1), (4, 1e22), (5, 5e-324), (6, -0.0)
INSERT INTO docs (id, kind, limit_, title, key, year, metric, dim) VALUES (1, 2, 3, 4, 5, 6, 7, 8)
INSERT INTO docs (id, "Upper", "with space", "order") VALUES (1, 2, 3, 4)
INSERT INTO docs (asc, by, count, create, delete, desc, drop, include, insert, k) VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
INSERT INTO docs (metadata, offset, search, show, similar, to, upsert, vectors) VALUES (1, 2, 3, 4, 5, 6, 7, 8)
DELETE FROM docs
DELETE FROM docs WHERE id = 7
delete from docs where id in (1, 2, 3);
DELETE FROM docs WHERE id IN ('a', 'b')
DELETE FROM docs WHERE id IN ($1)
DELETE FROM docs WHERE id NOT IN (1, 'a', NULL, $1, [1, 2], ['a'])
SELECT * FROM docs
select * from docs;
SELECT id FROM docs
SELECT id, title, distance FROM docs
SELECT *, distance FROM docs
SELECT count(*) FROM docs
SELECT COUNT ( * ) AS n FROM docs WHERE year >= 2000
SELECT count FROM docs
SELECT count, count(*), count AS count FROM docs
SELECT id AS "Id", meta.author AS author FROM docs
SELECT meta.author.name, "Meta"."Author", meta."select" FROM docs
SELECT kind, limit_, title, key, year, metric, dim FROM docs
SELECT desc FROM docs ORDER BY desc DESC
SELECT asc FROM docs ORDER BY asc ASC
SELECT k FROM docs WHERE k = 5 LIMIT 5
SELECT offset FROM docs OFFSET 5
SELECT id FROM docs WHERE id = 7
SELECT id FROM docs WHERE id = 'seven' LIMIT 1
SELECT id FROM docs LIMIT 0
SELECT id FROM docs LIMIT 10 OFFSET 20
SELECT id FROM docs LIMIT $1 OFFSET $2
SELECT id FROM docs LIMIT ? OFFSET ?
SELECT id FROM docs LIMIT :k
SELECT id FROM docs WITH (ef = 64)
SELECT id FROM docs WHERE year >= 2000 ORDER BY vector <=> $1 LIMIT 10 OFFSET 5 WITH (ef = 64, exact = true)
SELECT id FROM docs ORDER BY vector <-> [1, 2, 3] LIMIT 10
SELECT id FROM docs ORDER BY vector <#> $1 DESC
SELECT id FROM docs ORDER BY vector<+>$1
SELECT id FROM docs ORDER BY $1 <=> vector
SELECT id FROM docs ORDER BY year DESC LIMIT 20
SELECT id FROM docs ORDER BY meta.year
SELECT id FROM docs WHERE a = 1 AND b <> 2 AND c < 3 AND d <= 4 AND e > 5 AND f >= 6 AND g != 7
SELECT id FROM docs WHERE a=-5 AND b<-5 AND c>+5 AND d<>-.5
SELECT id FROM docs WHERE a = 1 OR b = 2 AND c = 3
SELECT id FROM docs WHERE (a = 1 OR b = 2) AND c = 3
SELECT id FROM docs WHERE (a = 1 AND b = 2) AND c = 3
SELECT id FROM docs WHERE a = 1 AND (b = 2 AND c = 3)
SELECT id FROM docs WHERE a = 1 OR (b = 2 OR (c = 3 OR d = 4))
SELECT id FROM docs WHERE NOT a = 1
SELECT id FROM docs WHERE NOT NOT a = 1
SELECT id FROM docs WHERE NOT (a = 1 OR NOT (b = 2))
SELECT id FROM docs WHERE (NOT a) = 1
SELECT id FROM docs WHERE ((((a)) = ((1))))
SELECT id FROM docs WHERE ok
SELECT id FROM docs WHERE NOT ok AND TRUE OR FALSE
SELECT id FROM docs WHERE (a = 1) = (b = 2)
SELECT id FROM docs WHERE vector <=> $1 < 0.5
SELECT id FROM docs WHERE (vector <=> $1) < 0.5 AND (a <-> b) <-> (c <-> d) > 1
SELECT id FROM docs WHERE a BETWEEN 1 AND 2 AND b BETWEEN -1 AND +1
SELECT id FROM docs WHERE a NOT BETWEEN 1 AND 2 OR NOT a BETWEEN 1 AND 2
SELECT id FROM docs WHERE a BETWEEN (b AND c) AND (d OR e)
SELECT id FROM docs WHERE a LIKE 'x%' AND b NOT LIKE '_y' AND c ILIKE 'Z' AND d NOT ILIKE $1
SELECT id FROM docs WHERE a IS NULL AND b IS NOT NULL AND NOT c IS NULL
SELECT id FROM docs WHERE (a IS NULL) IS NOT NULL
SELECT id FROM docs WHERE (a IN (1)) IN (TRUE) OR (a LIKE b) LIKE (c LIKE d)
SELECT id FROM docs WHERE a IN (1) AND b NOT IN ('x', 'y') AND c IN (1.5, -2, NULL, TRUE, :p)
SELECT id FROM docs WHERE 5 = a AND 'x' < b AND NULL = c AND $1 = d
SELECT id FROM docs WHERE meta.year > 2000 AND "Meta"."Year" < 2010
SELECT id FROM docs WHERE vector = [1, 2, 3] AND tags = ['a', 'b']
SELECT id FROM docs WHERE a = $1 AND b = $2 AND c = $1 AND d = $65535
SELECT id FROM docs WHERE a = :Name AND b = :name AND c = :_1
SELECT/**/id/**/FROM/**/docs/**/WHERE/**/a/**/=/**/1
SELECT id FROM docs WHERE a = 'x' -- a comment at the end
  SELECT   id   FROM   docs   ;   -- blanks and a comment after the end
/* before */ SELECT id FROM docs /* after */
SELECT id FROM "Docs" WHERE "A" = 1 AND a = 2
SELECT ID FROM DOCS WHERE Title = 'Title'
VECTOR SEARCH docs SIMILAR TO $1
vector search docs similar to $1 limit 5;
VECTOR SEARCH docs SIMILAR TO [0.1, 0.2, 0.3] LIMIT 10
VECTOR SEARCH docs SIMILAR TO [1, /* in */ 2] LIMIT 3
VECTOR SEARCH docs SIMILAR TO ? WHERE a = ? LIMIT ?
VECTOR SEARCH docs SIMILAR TO :q K = 5
VECTOR SEARCH docs SIMILAR TO $1 K=5
VECTOR SEARCH docs SIMILAR TO ID 7
VECTOR SEARCH docs SIMILAR TO ID -7 LIMIT 5
VECTOR SEARCH docs SIMILAR TO ID 'seven'
VECTOR SEARCH docs SIMILAR TO ID $1
VECTOR SEARCH docs SIMILAR TO $1 WHERE year >= 2000 INCLUDE VECTORS INCLUDE METADATA LIMIT 5 WITH (ef = 64)
VECTOR SEARCH docs SIMILAR TO $1 WITH (ef = 64) LIMIT 5 INCLUDE METADATA WHERE year >= 2000 INCLUDE VECTORS
VECTOR SEARCH docs SIMILAR TO $1 INCLUDE METADATA K = :k
VECTOR SEARCH docs SIMILAR TO $1 LIMIT 5 WHERE k = include
VECTOR SEARCH similar SIMILAR TO $1 WHERE include = vectors INCLUDE VECTORS
VECTOR SEARCH vector SIMILAR TO $1 WHERE a OR b K = 5
SEARCH SIMILAR $1 COLLECTION docs
SEARCH SIMILAR $1 COLLECTION docs LIMIT 5
SEARCH SIMILAR [1, 2, 3] COLLECTION collection K = 5 WHERE a = 1
search similar id 'x' collection "Docs" include metadata with (ef = 64)
CREATE COLLECTION docs KIND flat DIM 3 FIELDS (title TEXT)
CREATE COLLECTION docs KIND flat DIM 3 METRIC l2 FIELDS (title TEXT, year INT NOT NULL, tags TEXT[]) WITH (m = 16)
create collection docs kind flat dim 3 fields (price float default 0.5, nums int[], extra json, at timestamp)
CREATE COLLECTION docs KIND flat DIM 3 FIELDS (a INT NOT NULL DEFAULT -1, b TEXT DEFAULT 'b' NOT NULL, c X DEFAULT NULL)
CREATE COLLECTION docs KIND flat DIM 3 FIELDS (a INT[] DEFAULT [1, 2], b TEXT [ ] DEFAULT ['a'], c C DEFAULT $1)
CREATE COLLECTION docs KIND flat DIM 3 FIELDS (a "Order", b "two words", c "x[]", "default" "DEFAULT" DEFAULT [], *)
CREATE COLLECTION fields KIND fields DIM 3 METRIC fields FIELDS (field field)
ALTER COLLECTION docs SEAL
alter collection docs compact;
ALTER COLLECTION docs CHECKPOINT
ALTER COLLECTION seal SEAL
ALTER COLLECTION docs REBUILD
ALTER COLLECTION rebuild REBUILD WITH (m = 32, mode = Fast)
ALTER COLLECTION docs SET (sync = always, interval = $1)
ALTER COLLECTION docs ADD FIELD year INT
ALTER COLLECTION docs ADD FIELD tags TEXT[] DEFAULT ['a'] NOT NULL
ALTER COLLECTION add ADD FIELD field FIELD NOT NULL
ALTER COLLECTION docs DROP FIELD "Year"
ALTER COLLECTION drop DROP FIELD field
TRUNCATE COLLECTION docs
TRUNCATE COLLECTION IF EXISTS truncate;
TRUNCATE COLLECTION if
UPDATE docs SET year = 2001
UPDATE docs SET title = 'it''s', year = NULL, tags = ['a'], vector = [1, 2, 3] WHERE id = 7
UPDATE docs SET vector = $1, "Year" = :year WHERE year > 2000 AND NOT ok
update set set set = ?, where_ = ? where set = ?;
CREATE INDEX ON docs (year)
CREATE INDEX by_year ON docs (year);
CREATE INDEX IF NOT EXISTS by_year ON docs (year)
create index if not exists on "Docs" (meta."Year")
CREATE INDEX if ON index (index)
DROP INDEX ON docs (year)
DROP INDEX IF EXISTS ON docs (meta.year)
SHOW SEGMENTS FOR docs
SHOW SEGMENTS FOR for
SHOW INDEXES FOR indexes
SHOW STATS FOR "Docs";
SHOW SETTINGS
show settings;
EXPLAIN SELECT * FROM docs
EXPLAIN ANALYZE SELECT id FROM docs WHERE year > 2000 ORDER BY vector <=> $1 LIMIT 5;
EXPLAIN VECTOR SEARCH docs SIMILAR TO $1
explain analyze search similar $1 collection analyze
EXPLAIN DELETE FROM explain WHERE analyze
EXPLAIN ANALYZE UPDATE docs SET year = ? WHERE year = ?
EXPLAIN INSERT INTO docs (id, vector) VALUES (1, [1, 2])
EXPLAIN ANALYZE SHOW SETTINGS
SELECT id FROM docs WHERE 'x' IN tags AND $1 NOT IN meta.tags OR :p IN tags
SELECT id FROM docs WHERE id IN $1 AND id NOT IN :ids AND id IN other
SELECT id FROM docs WHERE (a IN b) IN c AND NOT 1 IN nums AND (NOT a) IN b AND (a <-> b) IN c
SELECT id FROM docs WHERE tags && ['a', 'b'] AND nums && [1, 2] AND tags&&$1 OR tags && []
SELECT id FROM docs WHERE (a && [1]) && [TRUE] AND NOT a && :p AND ['a'] && ['b']
SELECT id FROM docs WHERE id IN (1,-2 , +3) AND id NOT IN (007) AND id IN(1)AND id in b
SELECT id FROM docs WHERE id IN (1, /* two */ 2) AND id IN (1, 2.0) AND id IN /* here */ (1)
VECTOR SEARCH docs SIMILAR TO $1 METRIC cosine THRESHOLD 0.5 LIMIT 5
VECTOR SEARCH docs SIMILAR TO $1 THRESHOLD $2 METRIC metric WHERE threshold MIN_SCORE 1
SEARCH SIMILAR $1 COLLECTION docs MIN_SCORE 0.8
SEARCH SIMILAR [1, 2, 3] COLLECTION threshold THRESHOLD -3 MIN_SCORE :min K = 5 METRIC ip
SELECT add, alter, analyze, checkpoint, compact, explain, field, fields, for, index, indexes FROM docs WHERE "on"
SELECT min_score, rebuild, seal, segments, set, settings, stats, threshold, truncate, update FROM docs
CREATE VECTOR docs DIM 3
CREATE VECTOR IF NOT EXISTS docs DIM 384 METRIC cosine
create vector "Docs" dim 8 metric ip;
CREATE VECTOR vector DIM 3
CREATE COLLECTION docs (dimension = 768, metric = 'cosine')
CREATE COLLECTION IF NOT EXISTS docs (metric = Cosine, kind = vector.turbo, dimension = 3)
CREATE COLLECTION docs (dimension = 768, metric = 'cosine') WITH (m = 16, ef_construction = 200)
CREATE COLLECTION docs (dimension = 3, kind = 'vector.turbo')
DROP VECTOR docs
DROP VECTOR IF EXISTS docs
DROP VECTOR vector
TRUNCATE docs
TRUNCATE VECTOR docs
TRUNCATE VECTOR IF EXISTS docs
TRUNCATE IF EXISTS docs
TRUNCATE collection
ALTER VECTOR INDEX ON docs SEAL
ALTER VECTOR INDEX ON docs COMPACT
ALTER VECTOR INDEX ON docs.vector SET (m = 16, ef_construction = 200)
ALTER COLLECTION docs SET (sync = on, "on" = 'on')
VACUUM docs
VACUUM FULL docs
VACUUM full
FLUSH docs
flush full docs;
CREATE ALIAS current FOR docs
CREATE OR REPLACE ALIAS current FOR docs
ALTER ALIAS current FOR docs_2
DROP ALIAS current
DROP ALIAS IF EXISTS current
CREATE ALIAS alias FOR for
SHOW VECTORS
SHOW ALIASES
SHOW COLLECTION vector
DESCRIBE docs
DESCRIBE COLLECTION docs
DESCRIBE collection
SHOW SEGMENTS
SHOW SEGMENTS docs
SHOW STATS
SHOW STATS docs
SHOW VECTOR INDEX ON docs
SHOW VECTOR INDEX ON docs.vector
SHOW INDEXES
SHOW INDEXES docs
SHOW INDEXES ON docs
SHOW SETTINGS LIKE 'flush%'
SHOW CONFIG
SHOW CONFIG LIKE '%_ms'
SHOW ef
SHOW a.search.ef
SHOW "settings"
SHOW "Search"."ef"
SHOW SESSIONS
SHOW QUERIES
SHOW ERRORS
SHOW METRICS
SET ef = 64
SET ef TO 64
SET search.timeout_ms = 1.5
SET mode = fast
SET mode = 'fast'
SET exact = on
SET exact = TRUE
SET shift = -5
SET shift TO -5
SET shift TO -9223372036854775808
SET name = NULL
SET name = DEFAULT
SET name = $1
SET to TO to
SET config = 5
SET CONFIG ef = 64
SET CONFIG a.search = fast
RESET ef
RESET search.ef
RESET ALL
KILL 7
KILL QUERY 7
KILL $1
KILL QUERY :id
PREPARE nearest AS SELECT id FROM docs ORDER BY vector <=> $1 LIMIT $2
PREPARE prepare AS EXPLAIN ANALYZE SELECT id FROM docs
PREPARE add_one AS INSERT INTO docs (id, vector) VALUES ($1, $2)
PREPARE v AS VECTOR SEARCH docs SIMILAR TO $1
EXECUTE nearest
EXECUTE nearest ([0.1, 0.2], 10)
EXECUTE nearest ($1, :k, 'x', now() - INTERVAL '1 h', -5)
DEALLOCATE nearest
DEALLOCATE PREPARE nearest
DEALLOCATE ALL
DEALLOCATE prepare
DEALLOCATE PREPARE ALL
BEGIN
BEGIN TRANSACTION;
COMMIT
commit transaction
ROLLBACK
ROLLBACK TRANSACTION
EXPLAIN (ANALYZE) SELECT id FROM docs
EXPLAIN (ANALYZE, RECALL, FORMAT json) VECTOR SEARCH docs SIMILAR TO $1
EXPLAIN (ANALYZE TRUE, RECALL ON, FORMAT text) SELECT id FROM docs
EXPLAIN (ANALYZE FALSE, RECALL off) SELECT id FROM docs
EXPLAIN (FORMAT json) DELETE FROM docs WHERE id = 7
EXPLAIN ANALYZE (RECALL) SELECT id FROM docs ORDER BY vector <=> $1
EXPLAIN ANALYZE (FORMAT json) SELECT id FROM docs
EXPLAIN DESCRIBE docs
INSERT INTO docs VECTOR (dense, content) VALUES ([0.1, 0.2], 'text')
UPSERT INTO docs VECTOR (id, vector) VALUES (1, [0.1, 0.2])
INSERT INTO vector VECTOR (vector) VALUES (ARRAY[0.1, 0.2])
INSERT INTO docs (id, at) VALUES (1, now() + INTERVAL '2 h'), (2, '2026-01-01'::TIMESTAMP)
INSERT INTO docs (id, a) VALUES (1 + 2 * 3, -(4)), ($1 - 1, CAST($2 AS FLOAT))
INSERT INTO docs (id, tags) VALUES (1, ARRAY['a', 'b']), (2, ARRAY[])
INSERT INTO docs (id) VALUES (1) WITH TTL 60
INSERT INTO docs (id) VALUES (1) WITH TTL 1 h
INSERT INTO docs (id) VALUES (1) WITH TTL 1.5 hours RETURNING id
INSERT INTO docs (id) VALUES (1) WITH TTL '90 min'
INSERT INTO docs (id) VALUES (1) WITH TTL $1
INSERT INTO docs (id) VALUES (1) WITH EXPIRES AT 1767225600000
INSERT INTO docs (id) VALUES (1) WITH EXPIRES AT now() + INTERVAL '1 day' ON CONFLICT DO NOTHING
INSERT INTO docs (id) VALUES (1) WITH EXPIRES AT -5 RETURNING *
UPSERT INTO docs (id) VALUES (1) WITH TTL 1 d RETURNING id, expires_at AS until
INSERT INTO docs (id) VALUES (1) ON CONFLICT DO NOTHING
INSERT INTO docs (id) VALUES (1) ON CONFLICT (id) DO NOTHING RETURNING id
INSERT INTO docs (id) VALUES (1) ON CONFLICT (id) DO UPDATE
INSERT INTO docs (id, n) VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET n = n + excluded.n, m = 1
INSERT INTO docs (id, n) VALUES (1, 2) WITH TTL 5 min ON CONFLICT DO UPDATE SET n = excluded.n RETURNING id, n * 2 AS double
UPDATE docs SET n = n + 1
UPDATE docs SET n = -n, at = now(), title = upper(title) WHERE id = 7 RETURNING id, n
DELETE FROM docs WHERE at < now() - INTERVAL '30 d' RETURNING *
DELETE FROM docs RETURNING id
SELECT 1
SELECT 1 + 2 * 3 - 4 / 5 % 6 AS n
SELECT (1 + 2) * 3, 1 - (2 - 3), 8 / (4 / 2), 8 % (5 % 3)
SELECT -a, +a, - -a, -(-a), - - -5, -(5), -(a + b), -a * -b
SELECT a -5, a - 5, a-5, a - -5, (a)-5, $1 -5, 5-5, 'x' -5, k -5, [1] -5 FROM docs
SELECT a + -9223372036854775808, -9223372036854775808
SELECT -(5::INT), -5::INT, (-5)::INT, a::TEXT::INT, a::TEXT[], a::"odd Type"
SELECT CAST(a AS TEXT), CAST(a + b AS INT[]), CAST(NULL AS "odd Type") FROM docs
SELECT :p::INT, $1::FLOAT, -$1::FLOAT
SELECT version(), now(), coalesce(a, b, 'c'), round(price * 1.19, 2) FROM docs
SELECT "cast"(a), "Upper"(a), vector(a), index(a), f(a = 1, b OR c) FROM docs
SELECT count(*), count(id), count(DISTINCT year), sum(price), avg(price) AS mean, min(at), max(at) FROM docs
SELECT DISTINCT year FROM docs
SELECT DISTINCT year, title FROM docs ORDER BY year
SELECT year, count(*) AS n FROM docs GROUP BY year
SELECT year, count(*) FROM docs WHERE ok GROUP BY year HAVING count(*) > 1 ORDER BY count(*) DESC LIMIT 5
SELECT year / 10 * 10 AS decade, max(price) FROM docs GROUP BY year / 10 * 10, meta.kind HAVING max(price) > 5
SELECT id FROM docs HAVING count(*) > 1
SELECT id FROM docs ORDER BY year DESC NULLS LAST, price ASC NULLS FIRST, id
SELECT id FROM docs ORDER BY year NULLS FIRST
SELECT id FROM docs ORDER BY nulls NULLS LAST
SELECT id FROM docs ORDER BY -5, -a, lower(title)
SELECT id FROM docs ORDER BY vector <=> $1 LIMIT 10 PER GROUP 3
SELECT id FROM docs GROUP BY author ORDER BY vector <=> $1 LIMIT $2 PER GROUP $3 OFFSET $4 WITH (ef = 64, exact = on)
SELECT id, 1 - (vector <=> $1) AS score, vector <-> ARRAY[1, 2] FROM docs
SELECT id FROM docs WHERE vector NEAR $1 AND year > 2000 LIMIT 10
SELECT id FROM docs WHERE vector NEAR [0.1, 0.2]
SELECT id FROM docs WHERE vector NEAR ARRAY[0.1, 0.2] AND near NEAR -5
SELECT id, similarity() AS s FROM docs WHERE vector NEAR :q ORDER BY similarity() DESC LIMIT 10 WITH (mode = 'accurate')
SELECT id FROM docs WHERE similarity(vector, :q) > 0.8
SELECT id FROM docs ORDER BY vector_distance(vector, ARRAY[0.1, 0.2]) LIMIT 5
SELECT id FROM docs WHERE tags CONTAINS 'x' AND $1 CONTAINS -5 AND contains CONTAINS contains
SELECT id FROM docs WHERE tags && ARRAY['a', 'b']
SELECT id FROM docs WHERE (year, id) > (2001, 7)
SELECT id FROM docs WHERE (a, b + 1, c) <> ($1, -2, NULL) AND ((a, b) = (1, 2)) = TRUE
SELECT id FROM docs WHERE a + 1 = b * 2 AND a - 1 BETWEEN -5 AND b + 5 OR a % 2 IN (0, b, c + 1)
SELECT id FROM docs WHERE lower(title) LIKE 'a%' AND length(title) > 5 AND a + 1 IS NULL
SELECT id FROM docs WHERE a IN (b) AND a IN (b, 1) AND a NOT IN (now() - INTERVAL '1 h')
SELECT id FROM docs WHERE at >= now() - INTERVAL '1 day' AND interval > INTERVAL '2 h'
SELECT id FROM docs WHERE year > all_ AND "all" = "distinct" AND "group" = "having"
SELECT name, value FROM red.settings WHERE name LIKE 'flush%'
SELECT * FROM red.queries ORDER BY started_at
SELECT * FROM "red.queries"
SELECT * FROM "Red"."Queries"
VECTOR SEARCH docs SIMILAR TO ARRAY[0.1, 0.2] LIMIT 5
VECTOR SEARCH docs SIMILAR TO ID (1, 2)
VECTOR SEARCH docs SIMILAR TO ID (1, 'two', -3, $1) NOT LIKE ID (4, :five) LIMIT 5
VECTOR SEARCH docs SIMILAR TO $1 GROUP BY author LIMIT 5 PER GROUP 2
VECTOR SEARCH docs SIMILAR TO $1 LIMIT 5 OFFSET 10
VECTOR SEARCH docs SIMILAR TO $1 OFFSET $2 K = 5 GROUP BY author, year / 10
VECTOR SEARCH docs SIMILAR TO $1 THRESHOLD -0.5 MIN_SCORE +.5
VECTOR SEARCH docs SIMILAR TO $1 WHERE price * 1.19 < 5 AND at > now() - INTERVAL '1 h'
SEARCH SIMILAR ARRAY[1, 2] COLLECTION docs
SEARCH SIMILAR ID (1, 2) NOT LIKE ID (3) COLLECTION docs GROUP BY author
SEARCH docs USING VECTOR ($1)
SEARCH docs USING VECTOR (ARRAY[0.1, 0.2], 10)
SEARCH docs USING VECTOR (vector, ARRAY[0.1, 0.2], 10) WHERE year > 2000 INCLUDE METADATA
SEARCH similar USING VECTOR (ID 7, $1)
SEARCH using USING VECTOR ([1, 2]) METRIC l2 OFFSET 5
SELECT x.id, x.*, x.j.k AS y FROM docs AS x WHERE x.year > 2000 GROUP BY x.year ORDER BY x.id
INSERT INTO docs AS x (id, vector, n) VALUES (1, [1, 0], DEFAULT), (2, [0, 1], 5) ON CONFLICT (id) DO UPDATE SET n = DEFAULT, m = x.n + excluded.n
UPSERT INTO docs AS x (id, vector, n) VALUES (1, [1, 0], DEFAULT) RETURNING x.*
UPDATE docs AS x SET n = DEFAULT, m = x.m + 1 WHERE x.id = 1
DELETE FROM docs AS x WHERE x.id = 1 RETURNING x.id
SELECT current_timestamp, "current_timestamp", "current_date" FROM docs WHERE at < current_timestamp
