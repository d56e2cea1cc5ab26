/* A plugin of qemu-user: how often each translated block of code ran, between marks.

   The emulated program makes a mark with lseek(-1, MARK): an error and nothing else where the
   plugin is not there. At every mark a line "mark" is written to the file that the argument
   out= names, and then a line for each block that ran until then:

       ID COUNT ADDRESS WORD...    address and instructions in hexadecimal

   Debian's qemu-user has no qemu-plugin.h, so what is used of its version 1 is declared here. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define LSEEK 62 /* on aarch64 */
#define MARK 0x71636f6d

struct qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0 };
typedef void (*tb_callback)(uint64_t plugin, struct qemu_plugin_tb *block);
typedef void (*syscall_callback)(uint64_t plugin, unsigned cpu, int64_t number, uint64_t a1,
                                 uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5,
                                 uint64_t a6, uint64_t a7, uint64_t a8);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t plugin, tb_callback callback);
void qemu_plugin_register_vcpu_syscall_cb(uint64_t plugin, syscall_callback callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int op, void *at,
                                              uint64_t value);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);

EXPORT int qemu_plugin_version = 1;

struct block {
    struct block *next;
    uint64_t id, count, address;
    size_t size;
    uint32_t words[];
};

static FILE *out;
static struct block *blocks;
static uint64_t next_id;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void translated(uint64_t plugin, struct qemu_plugin_tb *code) {
    (void)plugin;
    size_t size = qemu_plugin_tb_n_insns(code);
    struct block *block = calloc(1, sizeof *block + size * sizeof *block->words);
    if (block == NULL) {
        abort();
    }
    block->address = qemu_plugin_tb_vaddr(code);
    block->size = size;
    for (size_t i = 0; i < size; i++) {
        const void *data = qemu_plugin_insn_data(qemu_plugin_tb_get_insn(code, i));
        memcpy(&block->words[i], data, sizeof *block->words);
    }
    pthread_mutex_lock(&lock);
    block->id = next_id++;
    block->next = blocks;
    blocks = block;
    pthread_mutex_unlock(&lock);
    qemu_plugin_register_vcpu_tb_exec_inline(code, ADD_U64, &block->count, 1);
}

static void called(uint64_t plugin, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                   uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                   uint64_t a8) {
    (void)plugin, (void)cpu, (void)a1, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != LSEEK || a2 != MARK) {
        return;
    }
    pthread_mutex_lock(&lock);
    fputs("mark\n", out);
    for (struct block *block = blocks; block != NULL; block = block->next) {
        if (block->count == 0) {
            continue;
        }
        fprintf(out, "%llu %llu %llx", (unsigned long long)block->id,
                (unsigned long long)block->count, (unsigned long long)block->address);
        for (size_t i = 0; i < block->size; i++) {
            fprintf(out, " %08x", block->words[i]);
        }
        fputc('\n', out);
    }
    fflush(out);
    pthread_mutex_unlock(&lock);
}

EXPORT int qemu_plugin_install(uint64_t plugin, const struct qemu_info_t *info, int count,
                               char **arguments) {
    (void)info;
    if (count != 1 || strncmp(arguments[0], "out=", 4) != 0) {
        fputs("count_instructions: needs out=FILE\n", stderr);
        return 1;
    }
    out = fopen(arguments[0] + 4, "w");
    if (out == NULL) {
        perror(arguments[0] + 4);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, translated);
    qemu_plugin_register_vcpu_syscall_cb(plugin, called);
    return 0;
}
