/* The plain request path of OJP in C: what the compiled clock can be compared with as a practical limit.
 *
 * The same rules and the same order of events as the model's for the scenarios of scenarios.py: binary heaps, arrays of
 * structs, FIFO lists, one lazy timer for each queue with a limit and each shared station. Features that are off there
 * aren't here: slots and classifier, CPU limits, XA, calls, batches, fetches, errors of the database, pods that come and go
 * (so that pools never change and no view is learned), memory, patience. Nothing is sampled: no integrals of use are kept.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define RESOLUTION_S 1e-10
#define NOBODY (-1)

enum { UNFINISHED = -1, OK = 0, BREAKER_OPEN = 5, CONNECTION_TIMEOUT = 7 };
enum { UNIT_ARRIVES, UNIT_BEGINS, RPC_REACHES_POD, RPC_RETURNS, STATION_TIMER, GRANTED, CONNECTION_TIMER, THOUGHT };
enum { HEARTBEAT, CONNECT, QUERY, UPDATE, START, COMMIT, ROLLBACK, CLOSE_RESULT, TERMINATE };

typedef struct {
    int64_t units, jvms, client_threads, latencies, texts, pods, threads, connections, breaker_threshold;
    double duration_s, node_cores, database_cores, connection_timeout_s, breaker_open_s, health_interval_s;
    double statement_cpu_s, small_rpc_cpu_s, connect_cpu_s, row_cpu_s, commit_database_s;
    double hand_over_cpu_s, wake_cpu_s, wake_after_s;
    const double *arrival_s, *database_s, *think_s, *latencies_s, *health_phase_s;
    const int32_t *jvm, *first, *count, *transaction, *text, *rows, *writes;
    double *latency_s;
    int32_t *outcome;
} Run;

typedef struct { double time_s; int64_t word; } Entry;
typedef struct { double finish_s; int64_t number; int32_t caller; } Job;
typedef struct { double cores, virtual_s, settled_s, due_s; int64_t joined; int32_t count; Job *jobs; } Station;
typedef struct { int32_t head, tail, waiting; } Queue;
typedef struct { int32_t threads_free, idle; double timer_due_s, called_s; Queue executor, pool; } Pod;
typedef struct { double checked_s; int32_t idle, turn; Queue units; } Jvm;
typedef struct { int32_t failures; double open_until_s; } Breaker;
typedef struct {
    int32_t unit, jvm, at, end, transaction, ended, probe, sends, pinned, holds, rpc, pod, status, outcome, responding,
        checking, next;
    double deadline_s, thought_s;
} Caller;

static struct {
    Run r;
    double now_s;
    int64_t sequence, events, count, room;
    Entry *agenda;
    Station *stations; /* one for each pod, then the database */
    Pod *pods;
    Jvm *jvms;
    Caller *callers;
    Breaker *breakers;
    int32_t *next_unit;
} w;

/* The agenda -------------------------------------------------------------------------------------------------------- */

static int before(const Entry *a, const Entry *b) {
    return a->time_s < b->time_s || (a->time_s == b->time_s && a->word < b->word);
}

static void post(double time_s, int kind, int64_t subject) {
    Entry entry = {time_s, w.sequence++ << 29 | (int64_t)kind << 24 | subject};
    if (w.count == w.room) w.agenda = realloc(w.agenda, (w.room *= 2) * sizeof(Entry));
    int64_t hole = w.count++;
    while (hole > 0 && time_s < w.agenda[(hole - 1) / 2].time_s) {
        w.agenda[hole] = w.agenda[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    w.agenda[hole] = entry;
}

static void drop_first(void) {
    Entry last = w.agenda[--w.count];
    int64_t hole = 0, child;
    while ((child = 2 * hole + 1) < w.count) {
        if (child + 1 < w.count && before(&w.agenda[child + 1], &w.agenda[child])) child++;
        if (before(&last, &w.agenda[child])) break;
        w.agenda[hole] = w.agenda[child];
        hole = child;
    }
    w.agenda[hole] = last;
}

/* FIFO lists of callers ---------------------------------------------------------------------------------------------- */

static void enqueue(Queue *queue, int32_t caller) {
    w.callers[caller].next = NOBODY;
    if (queue->waiting++ == 0) queue->head = caller;
    else w.callers[queue->tail].next = caller;
    queue->tail = caller;
}

static int32_t dequeue(Queue *queue) {
    int32_t head = queue->head;
    queue->head = w.callers[head].next;
    queue->waiting--;
    return head;
}

/* Shared cores ------------------------------------------------------------------------------------------------------- */

static double busy(const Station *s) { return s->count < s->cores ? s->count : s->cores; }

static void settle(Station *s) {
    if (w.now_s > s->settled_s && s->count > 0)
        s->virtual_s += busy(s) * (w.now_s - s->settled_s) / s->count;
    s->settled_s = w.now_s;
}

static double next_due_s(const Station *s) {
    if (s->count == 0) return INFINITY;
    double left_s = s->jobs[0].finish_s - s->virtual_s;
    return s->settled_s + (left_s > 0.0 ? left_s : 0.0) * s->count / busy(s);
}

static void retime(Station *s) {
    double due_s = next_due_s(s);
    if (due_s < s->due_s) {
        s->due_s = due_s;
        post(due_s, STATION_TIMER, s - w.stations);
    }
}

static int job_before(const Job *a, const Job *b) {
    return a->finish_s < b->finish_s || (a->finish_s == b->finish_s && a->number < b->number);
}

static void join(Station *s, int32_t caller, double work_s) {
    settle(s);
    Job job = {s->virtual_s + work_s, ++s->joined, caller};
    int32_t hole = s->count++;
    while (hole > 0 && job.finish_s < s->jobs[(hole - 1) / 2].finish_s) {
        s->jobs[hole] = s->jobs[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    s->jobs[hole] = job;
    retime(s);
}

static int32_t take_finished(Station *s) {
    if (s->count == 0 || s->jobs[0].finish_s - s->virtual_s > RESOLUTION_S) return NOBODY;
    int32_t caller = s->jobs[0].caller, hole = 0, child;
    Job last = s->jobs[--s->count];
    while ((child = 2 * hole + 1) < s->count) {
        if (child + 1 < s->count && job_before(&s->jobs[child + 1], &s->jobs[child])) child++;
        if (job_before(&last, &s->jobs[child])) break;
        s->jobs[hole] = s->jobs[child];
        hole = child;
    }
    s->jobs[hole] = last;
    return caller;
}

/* The network -------------------------------------------------------------------------------------------------------- */

static double latency_s(Caller *c) {
    c->sends++;
    return w.r.latencies_s[((int64_t)c->unit * 4423 + c->sends) & (w.r.latencies - 1)];
}

static void send(Caller *c, int rpc, int32_t pod) {
    c->rpc = rpc;
    c->pod = pod;
    post(w.now_s + latency_s(c), RPC_REACHES_POD, c - w.callers);
}

/* A pod -------------------------------------------------------------------------------------------------------------- */

static void begin(int32_t caller, double waking_s) {
    Caller *c = &w.callers[caller];
    w.pods[c->pod].threads_free--;
    c->responding = 0;
    join(&w.stations[c->pod], caller,
         waking_s
             + (c->rpc == QUERY || c->rpc == UPDATE        ? w.r.statement_cpu_s * 0.5
                : c->rpc == CONNECT || c->rpc == TERMINATE ? w.r.connect_cpu_s
                                                           : w.r.small_rpc_cpu_s));
}

static void finish(Caller *c, int status) {
    Pod *pod = &w.pods[c->pod];
    pod->threads_free++;
    c->status = status;
    post(w.now_s + latency_s(c), RPC_RETURNS, c - w.callers);
    if (pod->executor.waiting > 0) begin(dequeue(&pod->executor), 0.0);
}

static Breaker *breaker_of(Caller *c) { return &w.breakers[c->pod * w.r.texts + w.r.text[c->at]]; }

static int is_open(Breaker *b) { return b->failures >= w.r.breaker_threshold && w.now_s <= b->open_until_s; }

static void enter_database(Caller *c, double work_s) { join(&w.stations[w.r.pods], c - w.callers, work_s); }

static int borrow(Caller *c) {
    Pod *pod = &w.pods[c->pod];
    if (pod->idle > 0) {
        pod->idle--;
        c->holds = 1;
        return 1;
    }
    c->deadline_s = w.now_s + w.r.connection_timeout_s;
    enqueue(&pod->pool, c - w.callers);
    if (pod->timer_due_s == INFINITY) {
        pod->timer_due_s = c->deadline_s;
        post(c->deadline_s, CONNECTION_TIMER, c->pod);
    }
    return 0;
}

static void give_back(Caller *c) {
    Pod *pod = &w.pods[c->pod];
    c->holds = 0;
    if (pod->pool.waiting > 0) {
        int32_t heir = dequeue(&pod->pool);
        w.callers[heir].holds = 1;
        post(w.now_s, GRANTED, heir);
    } else pod->idle++;
}

static void with_connection(Caller *c) {
    if (c->rpc == START) finish(c, OK);
    else enter_database(c, w.r.database_s[c->at]);
}

static void handle(Caller *c) {
    switch (c->rpc) {
    case QUERY:
    case UPDATE:
        if (is_open(breaker_of(c))) {
            finish(c, BREAKER_OPEN);
            break;
        } /* fall through */
    case START:
        if (c->holds || borrow(c)) with_connection(c);
        break;
    case COMMIT:
    case ROLLBACK:
        enter_database(c, w.r.commit_database_s);
        break;
    default:
        if (c->rpc == TERMINATE && c->holds) give_back(c);
        finish(c, OK);
    }
}

static void statement_succeeds(Caller *c) {
    breaker_of(c)->failures = 0;
    if (c->rpc == UPDATE && c->pinned == NOBODY) give_back(c);
    finish(c, OK);
}

static void database_done(Caller *c) {
    if (c->rpc == COMMIT || c->rpc == ROLLBACK) {
        finish(c, OK);
        return;
    }
    c->responding = 1;
    join(&w.stations[c->pod], c - w.callers, w.r.statement_cpu_s * 0.5 + w.r.row_cpu_s * w.r.rows[c->at]);
}

static void station_timer(int32_t index) {
    Station *s = &w.stations[index];
    int32_t caller;
    if (w.now_s != s->due_s) return;
    s->due_s = INFINITY;
    if (next_due_s(s) > w.now_s) {
        retime(s); /* others have joined */
        return;
    }
    settle(s);
    while ((caller = take_finished(s)) != NOBODY) {
        if (index == w.r.pods) database_done(&w.callers[caller]);
        else if (w.callers[caller].responding) statement_succeeds(&w.callers[caller]);
        else handle(&w.callers[caller]);
    }
    retime(s);
}

static void connection_timer(int32_t index) {
    Pod *pod = &w.pods[index];
    if (w.now_s != pod->timer_due_s) return;
    pod->timer_due_s = INFINITY;
    while (pod->pool.waiting > 0) {
        Caller *c = &w.callers[pod->pool.head];
        if (c->deadline_s > w.now_s) {
            if (pod->timer_due_s == INFINITY) {
                pod->timer_due_s = c->deadline_s;
                post(c->deadline_s, CONNECTION_TIMER, index);
            }
            break;
        }
        dequeue(&pod->pool);
        if (c->rpc != START && !is_open(breaker_of(c))) {
            Breaker *b = breaker_of(c);
            if (++b->failures >= w.r.breaker_threshold) b->open_until_s = w.now_s + w.r.breaker_open_s;
        }
        finish(c, CONNECTION_TIMEOUT);
    }
}

/* A client ----------------------------------------------------------------------------------------------------------- */

static void send_onward(Caller *c, int rpc) {
    int32_t pod = c->pinned;
    if (pod == NOBODY) pod = w.jvms[c->jvm].turn++ % w.r.pods;
    send(c, rpc, pod);
}

static void close_unit(Caller *c) {
    w.r.outcome[c->unit] = c->outcome;
    w.r.latency_s[c->unit] = w.now_s - w.r.arrival_s[c->unit] - c->thought_s;
    c->probe = 0;
    send(c, TERMINATE, c->pinned == NOBODY ? 0 : c->pinned);
}

static void onward(Caller *c) {
    if (c->transaction && !c->ended && c->pinned == NOBODY) send_onward(c, START);
    else if (c->at < c->end) send_onward(c, w.r.writes[c->at] ? UPDATE : QUERY);
    else if (c->transaction && !c->ended) {
        c->ended = 1;
        send_onward(c, COMMIT);
    } else close_unit(c);
}

static void begin_unit(int32_t thread, int32_t unit) {
    Caller *c = &w.callers[thread];
    Jvm *jvm = &w.jvms[c->jvm];
    c->unit = unit;
    c->at = w.r.first[unit];
    c->end = c->at + w.r.count[unit];
    c->transaction = w.r.transaction[unit];
    c->ended = c->probe = c->sends = c->holds = c->outcome = 0;
    c->thought_s = 0.0;
    c->pinned = NOBODY;
    c->checking = w.now_s - jvm->checked_s >= w.r.health_interval_s;
    if (c->checking) jvm->checked_s = w.now_s;
    send(c, c->checking ? HEARTBEAT : CONNECT, 0);
}

static void end_unit(Caller *c) {
    Jvm *jvm = &w.jvms[c->jvm];
    if (jvm->units.waiting > 0) {
        c->unit = jvm->units.head;
        jvm->units.head = w.next_unit[c->unit];
        jvm->units.waiting--;
        post(w.now_s, UNIT_BEGINS, c - w.callers);
    } else {
        c->next = jvm->idle;
        jvm->idle = c - w.callers;
    }
}

static void unit_arrives(int32_t unit) {
    Jvm *jvm = &w.jvms[w.r.jvm[unit]];
    if (unit + 1 < w.r.units) post(w.r.arrival_s[unit + 1], UNIT_ARRIVES, unit + 1);
    if (jvm->idle != NOBODY) {
        int32_t thread = jvm->idle;
        jvm->idle = w.callers[thread].next;
        begin_unit(thread, unit);
    } else {
        if (jvm->units.waiting++ == 0) jvm->units.head = unit;
        else w.next_unit[jvm->units.tail] = unit;
        jvm->units.tail = unit;
    }
}

static void rpc_returns(Caller *c) {
    switch (c->rpc) {
    case HEARTBEAT:
    case CONNECT:
        if (++c->probe < w.r.pods) send(c, c->rpc, c->probe);
        else if (c->rpc == CONNECT) onward(c);
        else send(c, CONNECT, c->probe = 0);
        break;
    case TERMINATE:
        if (c->pinned == NOBODY && ++c->probe < w.r.pods) send(c, TERMINATE, c->probe);
        else end_unit(c);
        break;
    case ROLLBACK:
        close_unit(c);
        break;
    case CLOSE_RESULT:
        c->at++;
        onward(c);
        break;
    default:
        if (c->status != OK) {
            c->outcome = c->status;
            if (c->transaction && c->pinned != NOBODY) send(c, ROLLBACK, c->pinned);
            else close_unit(c);
            break;
        }
        if (c->holds && c->pinned == NOBODY) c->pinned = c->pod;
        if (c->rpc == QUERY || c->rpc == UPDATE) {
            c->thought_s += w.r.think_s[c->at];
            post(w.now_s + w.r.think_s[c->at], THOUGHT, c - w.callers);
        } else onward(c);
    }
}

static void thought(Caller *c) {
    if (c->rpc == QUERY) send_onward(c, CLOSE_RESULT);
    else {
        c->at++;
        onward(c);
    }
}

/* A run -------------------------------------------------------------------------------------------------------------- */

static void rpc_reaches_pod(int32_t caller) {
    Pod *pod = &w.pods[w.callers[caller].pod];
    Station *cpu = &w.stations[w.callers[caller].pod];
    double asleep = (w.now_s - pod->called_s) / w.r.wake_after_s;
    pod->called_s = w.now_s;
    if (pod->threads_free > 0)
        begin(caller, w.r.hand_over_cpu_s / (1.0 + cpu->count / cpu->cores) + w.r.wake_cpu_s * (asleep < 1.0 ? asleep : 1.0));
    else enqueue(&pod->executor, caller);
}

static void happen(int kind, int32_t subject) {
    switch (kind) {
    case UNIT_ARRIVES: unit_arrives(subject); break;
    case UNIT_BEGINS: begin_unit(subject, w.callers[subject].unit); break;
    case RPC_REACHES_POD: rpc_reaches_pod(subject); break;
    case RPC_RETURNS: rpc_returns(&w.callers[subject]); break;
    case STATION_TIMER: station_timer(subject); break;
    case GRANTED: with_connection(&w.callers[subject]); break;
    case CONNECTION_TIMER: connection_timer(subject); break;
    case THOUGHT: thought(&w.callers[subject]); break;
    }
}

/* Fills latency_s and outcome, and returns the number of events. */
int64_t run(const Run *r) {
    int64_t callers = r->jvms * r->client_threads;
    w.r = *r;
    w.now_s = w.sequence = w.events = w.count = 0;
    w.room = 1024;
    w.agenda = malloc(w.room * sizeof(Entry));
    w.stations = calloc(r->pods + 1, sizeof(Station));
    w.pods = calloc(r->pods, sizeof(Pod));
    w.jvms = calloc(r->jvms, sizeof(Jvm));
    w.callers = calloc(callers, sizeof(Caller));
    w.breakers = calloc(r->pods * r->texts, sizeof(Breaker));
    w.next_unit = calloc(r->units, sizeof(int32_t));
    for (int64_t p = 0; p <= r->pods; p++) {
        int64_t most = p < r->pods ? r->threads : callers;
        w.stations[p] = (Station){p < r->pods ? r->node_cores : r->database_cores, 0, 0, INFINITY, 0, 0,
                                  malloc((most + 1) * sizeof(Job))};
    }
    for (int64_t p = 0; p < r->pods; p++) w.pods[p] = (Pod){r->threads, r->connections, INFINITY, -INFINITY, {0}, {0}};
    for (int64_t i = 0; i < callers; i++) {
        w.callers[i].jvm = i / r->client_threads;
        w.callers[i].next = i % r->client_threads == r->client_threads - 1 ? NOBODY : i + 1;
    }
    for (int64_t j = 0; j < r->jvms; j++) {
        w.jvms[j].idle = j * r->client_threads;
        w.jvms[j].checked_s = (r->health_phase_s[j] - 1.0) * r->health_interval_s;
    }
    for (int64_t unit = 0; unit < r->units; unit++) {
        r->latency_s[unit] = INFINITY;
        r->outcome[unit] = UNFINISHED;
    }
    if (r->units > 0) post(r->arrival_s[0], UNIT_ARRIVES, 0);
    while (w.count > 0 && w.agenda[0].time_s < r->duration_s) {
        int64_t word = w.agenda[0].word;
        w.now_s = w.agenda[0].time_s;
        drop_first();
        happen(word >> 24 & 31, word & 0xffffff);
        w.events++;
    }
    for (int64_t p = 0; p <= r->pods; p++) free(w.stations[p].jobs);
    free(w.agenda);
    free(w.stations);
    free(w.pods);
    free(w.jvms);
    free(w.callers);
    free(w.breakers);
    free(w.next_unit);
    return w.events;
}
