/* A stand-in for NVIDIA's libnvidia-ml.so.1, for machines without a GPU: it measures nothing. The real pynvml loads it
 * and calls it, which checks its interface. It tells what the file says that STAND_IN_NVML names, read anew on each call:
 * one line a GPU: UUID, utilisation in %, memory used in bytes, power in mW, temperature in °C, SM clock and memory clock
 * in MHz, throttle reasons, and 1 where it counts energy (its power times the monotonic clock). -1: not supported;
 * -2: the GPU is lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, GPU_IS_LOST = 15 };
enum { UTILISATION, MEMORY, POWER, TEMPERATURE, SM_CLOCK, MEMORY_CLOCK, THROTTLE, COUNTS_ENERGY, FIELDS };
#define MOST 16

typedef struct { unsigned gpu, memory; } utilisation;
typedef struct { unsigned long long total, free, used; } memory_info;
struct gpu { char uuid[80]; long long field[FIELDS]; };
static char names[MOST]; /* a handle is an address in here */

static int read_gpus(struct gpu *gpus) {
    const char *path = getenv("STAND_IN_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    int count = 0;
    if (!file) return 0;
    while (count < MOST) {
        struct gpu *g = &gpus[count];
        long long *f = g->field;
        if (fscanf(file, "%79s %lld %lld %lld %lld %lld %lld %lld %lld", g->uuid, f, f + 1, f + 2, f + 3, f + 4, f + 5,
                   f + 6, f + 7) != 9) break;
        count++;
    }
    fclose(file);
    return count;
}

static int tell(void *device, int field, long long *value) {
    struct gpu gpus[MOST];
    int index = (int)((char *)device - names);
    if (index >= read_gpus(gpus)) return GPU_IS_LOST;
    *value = gpus[index].field[field];
    return *value == -1 ? NOT_SUPPORTED : *value == -2 ? GPU_IS_LOST : SUCCESS;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == NOT_FOUND ? "Not Found" : code == GPU_IS_LOST ? "GPU is lost" : "Other"; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    struct gpu gpus[MOST];
    if ((int)index >= read_gpus(gpus)) return NOT_FOUND;
    *device = names + index;
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    struct gpu gpus[MOST];
    for (int index = read_gpus(gpus) - 1; index >= 0; index--)
        if (!strcmp(gpus[index].uuid, uuid)) return nvmlDeviceGetHandleByIndex_v2(index, device);
    return NOT_FOUND;
}
static int say(char *text, unsigned length, const char *said) { snprintf(text, length, "%s", said); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { struct gpu gpus[MOST]; *count = read_gpus(gpus); return SUCCESS; }
int nvmlDeviceGetName(void *device, char *name, unsigned length) { (void)device; return say(name, length, "STAND-IN for a GPU"); }
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    struct gpu gpus[MOST]; int index = (int)((char *)device - names);
    return index < read_gpus(gpus) ? say(uuid, length, gpus[index].uuid) : GPU_IS_LOST;
}
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) { (void)device; *major = 9; *minor = 0; return SUCCESS; }
int nvmlSystemGetDriverVersion(char *version, unsigned length) { return say(version, length, "580.65.06 of a STAND-IN"); }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 13000; return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *infos) {
    (void)device; (void)infos; *count = 0; return SUCCESS; /* nobody computes on it */
}
int nvmlDeviceGetIndex(void *device, unsigned *index) { *index = (char *)device - names; return SUCCESS; }

#define TELLS_UNSIGNED(name, which) \
    int name(void *device, unsigned *value) { long long v; int r = tell(device, which, &v); *value = v; return r; }
TELLS_UNSIGNED(nvmlDeviceGetPowerUsage, POWER)

int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *value) {
    long long v; int r = tell(device, TEMPERATURE, &v); (void)sensor; *value = v; return r;
}
int nvmlDeviceGetClockInfo(void *device, unsigned clock, unsigned *value) {
    long long v; int r = tell(device, clock == 2 ? MEMORY_CLOCK : SM_CLOCK, &v); *value = v; return r;
}
int nvmlDeviceGetUtilizationRates(void *device, utilisation *rates) {
    long long v; int r = tell(device, UTILISATION, &v); rates->gpu = v; rates->memory = 0; return r;
}
int nvmlDeviceGetMemoryInfo(void *device, memory_info *memory) {
    long long v; int r = tell(device, MEMORY, &v); memory->total = 1ULL << 37; memory->used = v;
    memory->free = memory->total - memory->used; return r;
}
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *value) {
    long long v; int r = tell(device, THROTTLE, &v); *value = v; return r;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj) {
    long long power, counts; struct timespec now;
    int r = tell(device, COUNTS_ENERGY, &counts);
    if (r == SUCCESS) r = tell(device, POWER, &power);
    if (r != SUCCESS) return r;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *mj = (unsigned long long)(power * (now.tv_sec + now.tv_nsec / 1e9));
    return SUCCESS;
}
