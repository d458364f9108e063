"""Good inputs, from which odd ones are made: small, so that many can be read, and the files that come along."""

from __future__ import annotations

from ojp_sizing.data_files import data_path

WORKLOADS = (
    b"name: shop\nstatements:\n  - {name: a, sql: select 1, kind: read, share: 0.7, database_time: 2ms}\n"
    b"  - {name: b, sql: update t, kind: write, share: 0.3, database_time: {mean: 3ms, cv: 0.5}}\n"
    b"units:\n  - {name: page, share: 0.9, statements: 2}\n"
    b"  - {name: pay, share: 10%, statements: [a, b], transaction: true, think: 0}\n",
    # Few units hold their connection for a minute.
    b"name: holds\nstatements: [{name: q, sql: select 1, kind: read, database_time: 1ms}]\nunits:\n"
    b"  - {name: page, share: 0.998, statements: [q]}\n"
    b"  - {name: hold, share: 0.002, statements: [q], think: {mean: 60s, family: constant}}\n",
    # Everything that a workload may say.
    b"name: all\ndescription: one of each\nsource: assumed\nstatements:\n"
    b"  - {name: load, sql: insert into t values (?), kind: batch, additions: 3, database_time: 20ms}\n"
    b"  - {name: night, sql: 'call night()', kind: call, database_time: {mean: 1s, family: exponential}, rows: 0}\n"
    b"  - {name: key, sql: insert into k, kind: write, session: true, database_time: 1ms, error_share: 0.1%}\n"
    b"  - {name: blob, sql: select b, kind: read, fetches: 2, lane: slow, database_time: 50ms}\n"
    b"units:\n  - {name: nightly, share: 0.5, statements: [load, night], calls: 2}\n"
    b"  - {name: two, share: 0.5, statements: [key, blob], xa: true, think: {mean: 5ms, cv: 2}}\n"
    b"arrivals: {bursts: {dispersion: 4, mean: 2s, share: 20%}}\n"
    b"clients: {jvms: 4, threads: 50, pools: 2, timeout: 5s, retries: 2, back_off: 100ms, factor: 1.5}\n"
    b"network: {one_way: 300us, sigma: 0.2}\nconstants: {statement_cpu_s: 0.4ms, heap_base_bytes: 256Mi}\n",
    b"name: day\nstatements: [{name: q, sql: select 1, kind: read, share: 1, database_time: 4ms}]\n"
    b"units: [{name: u}]\narrivals: {profile: {'00:00': 20%, '11:00': 100%, '18:30': 0.6}}\n",
    b"name: loop\nstatements: [{name: q, sql: select 1, kind: read, share: 1, database_time: 4ms}]\n"
    b"units: [{name: u}]\narrivals: {closed: {pause: 1s}}\n",
    b"name: tape\nstatements: [{name: q, sql: select 1, kind: read, share: 1, database_time: 4ms}]\n"
    b"units: [{name: u}]\narrivals: {replay: tape.csv}\n",
)
PRESETS = tuple(path.read_bytes() for path in sorted(data_path("workloads").glob("*.yaml")))

DEPLOYMENTS = (
    b"version: 0.3.1-beta\nreplicaCount: 3\nresources: {limits: {cpu: 2, memory: 1Gi}}\n"
    b"server: {threadPoolSize: 120, slowQuerySegregation: {enabled: true, slowSlotPercentage: 30, idleTimeout: 5000}}\n"
    b"client: {ojp.connection.pool.maximumPoolSize: 60, ojp.connection.pool.connectionTimeout: 5000}\n"
    b"database: {cores: 8, max_connections: 200}\n",
    # As Helm takes it, numbers in quotes.
    b"image: {tag: 0.3.1-beta}\nreplicaCount: 3\nresources: {limits: {cpu: '2', memory: '1Gi'}}\n"
    b"server: {circuitBreakerTimeout: '60000', connectionIdleTimeout: '30000'}\n",
    b"replicaCount: 2\nimage: {tag: 0.3.0-beta}\nresources: {limits: {cpu: 500m}, requests: {cpu: 250m}}\n"
    b"server: {opentelemetry: {enabled: true}, slowQuerySegregation: {enabled: false, slowSlotPercentage: 100}}\n"
    b"client: ojp.properties\n",
    b"version: 0.3.2-snapshot\ndatabase: {cores: 16}\nconstants: {connect_cpu_s: 0.5ms, pod_start_s: 12}\n",
)
PROPERTIES = (
    b"# pool\nojp.connection.pool.maximumPoolSize=40\nojp.connection.pool.minimumIdle = 4\n",
    b"ojp.connection.pool.connectionTimeout: 5000\nojp.datasource.name=\\u0061\\\n  b\n",
)

EXPORTS = (
    b"query,calls,rows,mean_exec_time,stddev_exec_time\nselect * from orders where id = $1,90000,90000,2.0,1.5\n"
    b"update orders set seen = now() where id = $1,9000,9000,3.0,2.0\n"
    b'"select day, sum(total) from orders group by day",100,36500,900.0,300.0\ncommit,9000,0,0.01,0.01\n',
    b"userid,query,calls,rows,mean_time,stddev_time\r\n10,select 1,5,5,0.1,0\r\n10,insert into t values ($1),7,7,0.2,0.1\r\n",
    b"query;calls;rows;mean_exec_time;stddev_exec_time\nselect 1;90000;90000;2.0;1.5\n",
    b'[{"query": "select 1", "calls": 90000, "rows": 90000, "mean_exec_time": 2.0, "stddev_exec_time": 1.5}]',
    b"QUERY,CALLS,ROWS,MEAN_EXEC_TIME,STDDEV_EXEC_TIME\nselect 1,9,9,2.0,1.5\n",
)
UNITS = (
    b"units:\n  - {name: browse, count: 90000, statements: [select_orders_where]}\n"
    b"  - {name: pay, count: 9000, statements: [update_orders], transaction: true}\n",
    b"clients: {jvms: 4}\nunits: [{name: u, share: 1, statements: 2}]\n",
)
RECORDINGS = (
    b"at,unit,jvm\n0,u,0\n0.5,u,3\n61,u,1\n180,u,15\n",
    b"at\n2026-03-01T12:00:00.250Z\n2026-03-01T12:00:01Z\n2026-03-01T12:09:01+01:00\n",
    b"at\n" + b"".join(b"%d.5\n" % second for second in range(0, 400, 2)),
)
