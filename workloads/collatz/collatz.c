/* Records of the Collatz sequence (n -> n/2 or 3n+1) in a range of starts: a kernel in C with nothing but the standard
 * library, compiled to a WASI command.
 *
 * Arguments, as the host gives them: n={"end":E,"first":F} for the starts F to E-1. Output, one line per start that
 * takes more steps to reach 1, or climbs higher, than every smaller start of the range:
 *
 *     steps 27 111            27 takes 111 steps
 *     peak 27 9232            27 climbs up to 9232
 *
 * With merge=... among the arguments, the inputs /input/0, /input/1 ... are such outputs, and the records among them
 * are written, whatever their order. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned __int128 wide;

enum { RECORDS_MAX = 4096 }; /* of each kind: below 2^64 fewer than 200 are possible in one range from 1 */

struct record {
    uint64_t start;
    wide value;
};

struct records {
    struct record at[RECORDS_MAX];
    size_t count;
};

static struct records steps, peaks;

static void fail(const char *why) {
    fprintf(stderr, "collatz: %s\n", why);
    exit(1);
}

static void add(struct records *records, uint64_t start, wide value) {
    if (records->count == RECORDS_MAX) fail("more records than there can be: are the inputs outputs of this kernel?");
    records->at[records->count++] = (struct record){start, value};
}

/* Follows one start; a step over an odd number and the halving after it are taken together. */
static void follow(uint64_t start) {
    wide n = start, peak = start;
    uint64_t count = 0;
    while (n != 1) {
        if (n & 1) {
            if (n > (((wide)0 - 1) - 1) / 3) fail("a sequence climbs over 128 bits");
            n = 3 * n + 1;
            if (n > peak) peak = n;
            count++;
        }
        n >>= 1;
        count++;
    }
    if (steps.count == 0 || count > steps.at[steps.count - 1].value) add(&steps, start, count);
    if (peaks.count == 0 || peak > peaks.at[peaks.count - 1].value) add(&peaks, start, peak);
}

static int by_start(const void *left, const void *right) {
    const struct record *a = left, *b = right;
    return (a->start > b->start) - (a->start < b->start);
}

static void print_wide(wide value) {
    char digits[40];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value > 0);
    printf("%.*s\n", (int)(sizeof digits - at), digits + at);
}

/* Prints those that exceed every smaller start's. */
static void print(const char *name, struct records *records) {
    wide best = 0;
    qsort(records->at, records->count, sizeof *records->at, by_start);
    for (size_t i = 0; i < records->count; i++) {
        struct record *record = &records->at[i];
        if (i > 0 && record->value <= best) continue;
        best = record->value;
        printf("%s %" PRIu64 " ", name, record->start);
        print_wide(best);
    }
}

static void read_output(FILE *input) {
    char name[8], digits[40];
    uint64_t start;
    int fields;
    while ((fields = fscanf(input, "%7s %" SCNu64 " %39[0-9]", name, &start, digits)) == 3) {
        wide value = 0;
        for (const char *digit = digits; *digit; digit++) value = 10 * value + (wide)(*digit - '0');
        if (strcmp(name, "steps") == 0) add(&steps, start, value);
        else if (strcmp(name, "peak") == 0) add(&peaks, start, value);
        else fail("an input to merge is no output of this kernel");
    }
    if (fields != EOF) fail("an input to merge is no output of this kernel");
}

static void merge(void) {
    char path[32];
    FILE *input;
    for (int index = 0; snprintf(path, sizeof path, "/input/%d", index), (input = fopen(path, "r")); index++) {
        read_output(input);
        fclose(input);
    }
}

int main(int argc, char **argv) {
    uint64_t first = 0, end = 0;
    int merging = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "merge=", 6) == 0) merging = 1;
        sscanf(argv[i], "n={\"end\":%" SCNu64 ",\"first\":%" SCNu64 "}", &end, &first);
    }
    if (merging) merge();
    else if (first < 1 || end < first) fail("cut the job along an axis n of integers from 1 on");
    for (uint64_t start = first; start < end; start++) follow(start);
    print("steps", &steps);
    print("peak", &peaks);
    if (fflush(stdout) != 0) fail("the output can't be written");
    return 0;
}
