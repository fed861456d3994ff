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
INSERT INTO docs (id, a) VALUES (1, 1e308), (2, -1e-308), (3, 0.1), (4, 1e22), (5, 5e-324), (6, -0.0), (7, 1e-400)
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
CREATE COLLECTION docs KIND flat DIM 3 FIELDS (a "Order", b "two words", c "x[]", default DEFAULT DEFAULT [])
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
