/* The threads that share a kernel's parallel loop.
 *
 * Generated code calls __TVMBackendParallelLaunch(task, data, count): every task t of count gets
 * its part of the loop. Workers spin for a while after a loop, since the next one is near, and
 * then sleep. A part that its worker has not begun when the caller is through with its own, the
 * caller does too: a busy machine may run a worker late. One launch at a time; one thread alone
 * makes no worker.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define MOST 256
#define SPINS 4000 /* some ten microseconds */

typedef struct {
  void* unused;
  int32_t count;
} group;

typedef int (*task)(int, group*, void*);

typedef struct {
  _Alignas(64) atomic_uint turn; /* raised once for every loop that this worker shares */
  atomic_uint taken;             /* the last turn whose part it, or the caller, has begun */
  atomic_uint done;              /* the last turn whose part is done */
  atomic_int asleep;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  int id;
} worker;

static worker workers[MOST];
static int started, wanted = 1;

static struct {
  task run;
  void* data;
  group all;
} job;

static inline void pause_briefly(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/* Says whether a worker's part of a turn is the asker's now: the first to ask has it. */
static int take(worker* one, unsigned turn) {
  unsigned before = turn - 1;
  return atomic_compare_exchange_strong(&one->taken, &before, turn);
}

static int run_part(worker* one, unsigned turn) {
  const int status = job.run(one->id, &job.all, job.data);
  atomic_store_explicit(&one->done, turn, memory_order_release);
  return status;
}

static unsigned next_turn(worker* self, unsigned seen) {
  for (int spin = 0; spin < SPINS; spin++) {
    const unsigned turn = atomic_load_explicit(&self->turn, memory_order_acquire);
    if (turn != seen) return turn;
    pause_briefly();
  }
  pthread_mutex_lock(&self->lock);
  atomic_store(&self->asleep, 1);
  while (atomic_load(&self->turn) == seen) pthread_cond_wait(&self->wake, &self->lock);
  atomic_store(&self->asleep, 0);
  pthread_mutex_unlock(&self->lock);
  return atomic_load(&self->turn);
}

static void* work(void* argument) {
  worker* const self = argument;
  for (unsigned seen = 0;;) {
    seen = next_turn(self, seen);
    if (take(self, seen)) run_part(self, seen);
  }
  return 0;
}

static void forget(void) { started = 0; } /* a forked child has no workers */

static void start(int count) {
  static int registered;
  if (!registered) registered = !pthread_atfork(0, 0, forget);
  for (; started < count; started++) {
    worker* const self = &workers[started];
    pthread_t thread;
    atomic_store(&self->turn, 0);
    atomic_store(&self->taken, 0);
    atomic_store(&self->done, 0);
    atomic_store(&self->asleep, 0);
    pthread_mutex_init(&self->lock, 0);
    pthread_cond_init(&self->wake, 0);
    self->id = started + 1;
    if (pthread_create(&thread, 0, work, self)) return;
    pthread_detach(thread);
  }
}

static int launch(task run, void* data, int count) {
  if (count < 1 || count > wanted) count = wanted;
  if (count > 1) start(count - 1);
  if (count > started + 1) count = started + 1;
  job.run = run;
  job.data = data;
  job.all.count = count;
  for (int i = 0; i < count - 1; i++) {
    worker* const self = &workers[i];
    atomic_fetch_add(&self->turn, 1);
    if (!atomic_load(&self->asleep)) continue;
    pthread_mutex_lock(&self->lock);
    pthread_cond_signal(&self->wake);
    pthread_mutex_unlock(&self->lock);
  }
  int status = run(0, &job.all, data);
  for (int i = 0; i < count - 1; i++) {
    const unsigned turn = atomic_load(&workers[i].turn);
    if (take(&workers[i], turn)) status |= run_part(&workers[i], turn);
  }
  for (int i = 0; i < count - 1; i++) {
    worker* const self = &workers[i];
    const unsigned turn = atomic_load(&self->turn);
    for (int spin = 0; atomic_load_explicit(&self->done, memory_order_acquire) != turn; spin++) {
      if (spin < SPINS) pause_briefly();
      else sched_yield();
    }
  }
  return status;
}

int (*__TVMBackendParallelLaunch)(task, void*, int) = launch;

/* Says how many threads share a loop from now on. */
void model_threads(int count) { wanted = count < 1 ? 1 : count > MOST ? MOST : count; }
