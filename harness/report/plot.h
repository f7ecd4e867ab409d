/* Pictures, drawn by gnuplot as SVG: series of points, or cells, between two axes. What a picture
 * shows is what its points say, so the table beneath it (html.h) is made of the same points.
 *
 * One gnuplot draws all pictures of a report: a process for each would take longer than everything
 * else. Nothing that others wrote reaches its script but through a list of characters that are
 * known to mean nothing there. */
#ifndef ATTEST_PLOT_H
#define ATTEST_PLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* How numbers of an axis are told: as they are, with thousands (k, M), as times, as percent. */
enum plot_unit { PLOT_PLAIN, PLOT_COUNT, PLOT_LENGTH, PLOT_TIME_US, PLOT_RATE, PLOT_PERCENT };

struct plot_axis {
    char title[64];
    enum plot_unit unit;
    bool log;                 /* what is not above 0 is left out */
    double least, most;       /* both 0: as the points need */
    const char *const *names; /* at 0, 1, ...: instead of numbers; NULL: none */
    int64_t name_count;
};

enum plot_style {
    PLOT_POINTS,
    PLOT_LINES,     /* points in their order, joined */
    PLOT_ROOF,      /* a line alone, dashed */
    PLOT_INTERVALS, /* along x, from low to high */
    PLOT_CELLS,     /* unit squares around x, y, of their own colour */
};

struct plot_point {
    double x, y, low, high;
    uint32_t colour;   /* of a cell, 0xrrggbb */
    const char *label; /* the table's second column; as long-lived as the picture; NULL: none */
    bool apart;        /* begins another line of the same series */
};

struct plot_series {
    char name[264]; /* in the key and in the table's first column */
    enum plot_style style;
    bool second; /* on the axis at the right */
    int colour;  /* which of the colours, from 1; 0: by its place */
    struct plot_point *points;
    int64_t count, room;
};

struct plot {
    char title[160];
    char note[512];                       /* what it shows, in a sentence or two */
    const char *name_title, *label_title; /* of the table's first columns; NULL: no such column */
    const char *value_title;              /* of a last column, which is `low` of the points */
    struct plot_axis x, y, second;
    int width, height; /* 0: as usual */
    struct plot_series *series;
    int64_t series_count;
    void *owned; /* freed with it: names that are of no one else; NULL: none */
    char *svg;   /* drawn; NULL: not yet, or there is no gnuplot */
};

/* The series of that name, made where there is none. */
struct plot_series *plot_series(struct plot *plot, const char *name, enum plot_style style);
/* A point that has no finite place is left out. */
void plot_add(struct plot_series *series, struct plot_point point);
int64_t plot_points(const struct plot *plot);
/* In HTML: which mark is which series. */
void plot_key(FILE *to, const struct plot *plot);
void plot_free(struct plot *plot);

/* The pictures of a report, by number. */
struct album {
    struct plot **plots;
    int64_t count, room;
};
/* An empty picture, to be filled; then whether it is to be kept: its number, or -1. */
struct plot *album_begin(struct album *album);
int64_t album_end(struct album *album, bool keep);
/* Draws them, by way of files in `folder` that are gone afterwards. Where that fails, or there is
 * no gnuplot, none is drawn and standard error says why. */
void album_draw(struct album *album, const char *folder);
void album_free(struct album *album);

/* The marks that all pictures of a page use, once on each page before the first. */
extern const char plot_marks[];

#endif
