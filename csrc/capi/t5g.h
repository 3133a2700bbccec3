/* t5g.h: T5Gemma and T5Gemma 2 in C99 programs, with all that has state behind handles.
 *
 * Statuses. Calls return T5G_OK or say what went wrong; t5g_message() has it in words, for the calling thread. A call
 * that fails leaves its results NULL or as they were, and everything else as it was. No call ends the process, prints,
 * or lets an exception out, whatever it is given: NULL and handles of another kind are T5G_INVALID_ARGUMENT. A handle
 * that was freed must not be used any more.
 *
 * Text is UTF-8 in and out, paths included, on every system; where file names are bytes, others name files too. Sizes
 * are bytes; T5G_TO_ZERO stands for a text that ends with a zero byte. Text that comes out has a zero byte behind it,
 * which its size does not count.
 *
 * Memory. What a call makes is the caller's: handles go back to the _free function of their kind, arrays and texts to
 * t5g_free(). What a handle shows (const pointers) lives as long as the handle. _free functions take NULL.
 *
 * Structs that may grow begin with struct_size. Let t5g_..._init(&it, sizeof it) fill those that go in, and change what
 * should differ; of those that come out set struct_size = sizeof it. So programs and libraries of different versions
 * understand each other: what one of them does not know has its default.
 *
 * Threads. There is no state but that of handles. Unless a call says otherwise, any thread may make it at any time,
 * also with handles that other threads are using; only _free must be the last use. Calls that compute with one model
 * take turns, forward pass by forward pass, and use the model's own threads. Callbacks come on the thread that made the
 * call; they may make other calls, but none that computes with the same model, and must return normally.
 *
 * The same model, input and options give the same tokens and the same bits as t5g in Python does.
 */
#ifndef T5G_H
#define T5G_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A program that uses the static library on Windows defines T5G_STATIC. */
#if defined(_WIN32) && defined(T5G_BUILDING_SHARED)
#define T5G_API __declspec(dllexport)
#elif defined(_WIN32) && !defined(T5G_STATIC) && !defined(T5G_BUILDING)
#define T5G_API __declspec(dllimport)
#elif defined(__GNUC__) && !defined(_WIN32)
#define T5G_API __attribute__((visibility("default")))
#else
#define T5G_API
#endif

/* Grows when a program that was made for an older one would not work any more. */
#define T5G_ABI_VERSION 1

#define T5G_TO_ZERO ((size_t)-1)      /* the size of a text that ends with a zero byte */
#define T5G_TO_END UINT64_MAX         /* the size of a part of a file: all that is left of it */
#define T5G_ALL_ADAPTERS ((size_t)-1) /* the number of adapters: all that are loaded */

/* ---- Statuses and messages ------------------------------------------------------------------------------------- */

typedef enum t5g_status {
  T5G_OK = 0,
  T5G_INVALID_ARGUMENT = 1, /* NULL, a handle of another kind, a value outside its range, text that is no UTF-8 */
  T5G_INPUT_TOO_LONG = 2,   /* more tokens than the model takes; nothing is cut unless asked for */
  T5G_NOT_FOUND = 3,        /* no such file */
  T5G_IO_ERROR = 4,         /* the system refused: no permission, no space, no such descriptor */
  T5G_FORMAT_ERROR = 5,     /* a file that is damaged, or is something else */
  T5G_UNSUPPORTED = 6,      /* this model, build or machine has not got it */
  T5G_DEVICE_ERROR = 7,     /* a device that is there has failed */
  T5G_OUT_OF_MEMORY = 8,
  T5G_CANCELLED = 9, /* by t5g_cancel_request() or a callback */
  T5G_CLOSED = 10,   /* the model was closed, before the call or during it */
  T5G_ERROR = 11     /* anything else, such as an exception of a callback */
} t5g_status;

/* "T5G_OK" and so on; "unknown" for other numbers. */
T5G_API const char* t5g_status_name(t5g_status status);

/* What the last call of this thread that failed had to say: where, what is wrong, what to do. Until this thread's next
 * failure. "" when none has failed. */
T5G_API const char* t5g_message(void);

/* T5G_ABI_VERSION of the library, which should be that of the header. */
T5G_API uint32_t t5g_abi_version(void);
/* "0.1.0" */
T5G_API const char* t5g_version(void);

/* As JSON: version, kernels (those chosen), kernels_available, cpu_features, default_threads, devices (each with what
 * it is or why it is not there). */
T5G_API t5g_status t5g_system_info(char** json);

/* Gives back memory of a call that says so. */
T5G_API void t5g_free(void* memory);

/* ---- Callbacks ------------------------------------------------------------------------------------------------- */

/* Text as it comes, whole characters; not ended by a zero byte. source: the index of the source that it is about, 0 but
 * in batches. Other than 0: stop, a batch as a whole. */
typedef int32_t (*t5g_text_callback)(void* user_data, size_t source, const char* text, size_t size);
/* Work that is done of all that there is, 0 at the beginning. Other than 0: stop. */
typedef int32_t (*t5g_progress_callback)(void* user_data, uint64_t done, uint64_t total);

typedef enum t5g_log_level { T5G_LOG_INFO = 0, T5G_LOG_WARNING = 1 } t5g_log_level;
/* One line. Of the calls that a model or options with such a callback are given to. */
typedef void (*t5g_log_callback)(void* user_data, t5g_log_level level, const char* message);

/* A wish to stop, for any number of calls: give it to them, and request from any thread or signal handler. They end
 * within some milliseconds. */
typedef struct t5g_cancel t5g_cancel;
T5G_API t5g_status t5g_cancel_new(t5g_cancel** cancel);
/* Calls that have it end, and further ones do not begin. */
T5G_API t5g_status t5g_cancel_request(t5g_cancel* cancel);
/* Makes it as new. */
T5G_API t5g_status t5g_cancel_reset(t5g_cancel* cancel);
/* No call may have it any more. */
T5G_API void t5g_cancel_free(t5g_cancel* cancel);

/* ---- Models ---------------------------------------------------------------------------------------------------- */

typedef struct t5g_model t5g_model;

typedef enum t5g_load {
  T5G_LOAD_MAP = 0, /* weights are read when they are first needed, embeddings row by row: the file stays open, and
                       memory must stay where it is until the model is freed */
  T5G_LOAD_COPY = 1 /* everything is read at once, and what it comes from is needed no more */
} t5g_load;

typedef enum t5g_encoder_window { T5G_WINDOW_EXCLUSIVE = 0, T5G_WINDOW_INCLUSIVE = 1 } t5g_encoder_window;

typedef struct t5g_model_options {
  size_t struct_size;
  const char* device;          /* "auto", "cpu", "cuda", "cuda:1", "metal" */
  const char* kv_type;         /* of the decoder's keys and values: "auto", "f32", "f16", "q8_0" */
  int32_t n_threads;           /* 0: the fast physical cores that this process may use */
  int32_t load;                /* t5g_load */
  int32_t encoder_window;      /* t5g_encoder_window: of T5Gemma (the first) alone, for sources beyond its window */
  const char* source_cache;    /* what is kept of a source for the decoder: "auto", "keys", "latent" */
  int64_t source_cache_budget; /* of "auto": bytes that keys may take; beyond, the encoder's output is kept alone */
  int64_t max_source_tokens;   /* another limit than the file's; 0: the file's */
  int64_t max_target_tokens;
  t5g_log_callback on_log; /* NULL: nobody is told */
  void* user_data;         /* of the callback */
} t5g_model_options;

T5G_API t5g_status t5g_model_options_init(t5g_model_options* options, size_t struct_size);

/* options: NULL for the defaults, here and below. */
T5G_API t5g_status t5g_model_open(const char* path, const t5g_model_options* options, t5g_model** model);
/* `size` bytes from `offset` on of a file that the caller has opened: an asset inside a package. The descriptor stays
 * the caller's, who may close it at once. name: what messages call it, or NULL. On Windows a descriptor is one of the C
 * library. */
T5G_API t5g_status t5g_model_open_fd(int fd, uint64_t offset, uint64_t size, const char* name,
                                     const t5g_model_options* options, t5g_model** model);
/* A file in memory, which begins at a multiple of 8 bytes unless it is copied. */
T5G_API t5g_status t5g_model_open_memory(const void* data, size_t size, const char* name,
                                         const t5g_model_options* options, t5g_model** model);
/* Ends the calls that use the model with T5G_CLOSED, waits for them, and gives its memory back. The handle stays, and
 * so do sources and results. */
T5G_API t5g_status t5g_model_close(t5g_model* model);
/* Closes the model and ends the handle. */
T5G_API void t5g_model_free(t5g_model* model);

typedef struct t5g_model_info {
  size_t struct_size;
  const char* architecture; /* "t5gemma", "t5gemma2" */
  const char* name;         /* what the file calls the model */
  const char* device;       /* where it runs: "cpu" */
  const char* kv_type;
  int32_t n_threads;
  int32_t vocab_size;
  int32_t hidden_size; /* of the encoder: floats of a hidden state and an embedding */
  int64_t max_source_tokens;
  int64_t max_target_tokens; /* 0: an encoder alone, for t5g_encode_text() and t5g_embed() */
  int32_t bos_id, eos_id, pad_id;
  int32_t decoder_start_token_id; /* -1: an encoder alone */
  int32_t image_size;             /* pixels of a side; 0: the model reads no images */
  int32_t n_tokens_per_image;
  int32_t has_tokenizer;     /* 0: token ids only */
  int32_t has_chat_template; /* 1: t5g_apply_chat_template() works */
  int64_t weights_bytes, image_weights_bytes, workspace_bytes;
  int64_t bytes_per_source_token, bytes_per_target_token;
  double load_seconds;
} t5g_model_info;

T5G_API t5g_status t5g_model_get_info(const t5g_model* model, t5g_model_info* info);
/* A text of the file's metadata, such as "general.name" or "tokenizer.chat_template"; T5G_NOT_FOUND where it has no
 * such key, T5G_FORMAT_ERROR where it is no text. For t5g_free(). */
T5G_API t5g_status t5g_model_get_metadata(const t5g_model* model, const char* key, char** value);

/* ---- Adapters -------------------------------------------------------------------------------------------------- */

/* Loads an adapter (LoRA), which t5g-convert --adapter has made for this model, beside those that are there. name: by
 * which it is chosen; scale: of what it adds, usually 1. */
T5G_API t5g_status t5g_model_load_adapter(t5g_model* model, const char* path, const char* name, double scale);
/* Calls under way keep it. A source that was made with it can be used when it is loaded again. */
T5G_API t5g_status t5g_model_unload_adapter(t5g_model* model, const char* name);
/* The scales of those that are loaded, by name, as JSON. For t5g_free(). */
T5G_API t5g_status t5g_model_get_adapters(const t5g_model* model, char** json);

/* ---- Text and tokens ------------------------------------------------------------------------------------------- */

/* add_special_tokens: put around the text what belongs around a source. parse_special: match special tokens in the
 * text; not for text that others wrote. ids: for t5g_free(). */
T5G_API t5g_status t5g_tokenize(const t5g_model* model, const char* text, size_t size, int32_t add_special_tokens,
                                int32_t parse_special, int32_t** ids, size_t* n_ids);
/* text: for t5g_free(). size may be NULL. */
T5G_API t5g_status t5g_detokenize(const t5g_model* model, const int32_t* ids, size_t n_ids, int32_t skip_special_tokens,
                                  char** text, size_t* size);

typedef struct t5g_chat_message { /* this struct stays as it is */
  const char* role;               /* "user" and "assistant" in turn */
  const char* content;            /* can never bring in special tokens */
} t5g_chat_message;

/* The ids of a conversation, up to where the model's turn begins, for t5g_encode_ids(). Gemma's own template;
 * T5G_UNSUPPORTED for files without one or with another. ids: for t5g_free(). */
T5G_API t5g_status t5g_apply_chat_template(const t5g_model* model, const t5g_chat_message* messages, size_t n_messages,
                                           int32_t** ids, size_t* n_ids);

/* ---- Sources --------------------------------------------------------------------------------------------------- */

/* A source that has been read: immutable, for any number of calls, threads and models of the same file. */
typedef struct t5g_source t5g_source;

typedef struct t5g_image { /* this struct stays as it is */
  const uint8_t* pixels;   /* rows from the top, each of width times red, green, blue */
  int64_t width, height;
  int64_t row_bytes; /* from one row to the next; 0: 3 * width */
} t5g_image;

/* What is done with more tokens than the model takes: an error, or one part of them is cut away. What belongs around a
 * text stays. Sources with images are never cut. */
typedef enum t5g_truncation {
  T5G_TRUNCATION_ERROR = 0,
  T5G_TRUNCATION_END = 1,
  T5G_TRUNCATION_START = 2,
  T5G_TRUNCATION_MIDDLE = 3
} t5g_truncation;

typedef struct t5g_adapter { /* this struct stays as it is */
  const char* name;
  double scale;
  int32_t has_scale; /* 0: the scale that it was loaded with */
} t5g_adapter;

typedef struct t5g_encode_options {
  size_t struct_size;
  const t5g_image* images;
  size_t n_images;
  int32_t parse_special; /* match special tokens in the text; <start_of_image> is matched where there are images */
  int32_t truncation;    /* t5g_truncation; t5g_source_get_n_truncated() says how much went */
  const t5g_adapter* adapters;       /* those that the source is read with, and texts about it are written */
  size_t n_adapters;                 /* T5G_ALL_ADAPTERS, the default, or 0: none */
  t5g_cancel* cancel;                /* NULL: none */
  t5g_progress_callback on_progress; /* tokens */
  void* user_data;
} t5g_encode_options;

T5G_API t5g_status t5g_encode_options_init(t5g_encode_options* options, size_t struct_size);

/* Reads a text. With images it has <start_of_image> where each belongs, or is empty. */
T5G_API t5g_status t5g_encode_text(t5g_model* model, const char* text, size_t size, const t5g_encode_options* options,
                                   t5g_source** source);
/* Reads token ids as they are, of which there may be none; with images they have the images' soft tokens in place. */
T5G_API t5g_status t5g_encode_ids(t5g_model* model, const int32_t* ids, size_t n_ids, const t5g_encode_options* options,
                                  t5g_source** source);

/* A file appears whole or not at all. */
T5G_API t5g_status t5g_source_save(const t5g_source* source, const char* path);
/* data: what t5g_source_save() would write, for t5g_free(). */
T5G_API t5g_status t5g_source_save_memory(const t5g_source* source, void** data, size_t* size);
/* T5G_FORMAT_ERROR for one that was made with another model. */
T5G_API t5g_status t5g_source_load(const t5g_model* model, const char* path, t5g_source** source);
/* The data are needed no more. */
T5G_API t5g_status t5g_source_load_memory(const t5g_model* model, const void* data, size_t size, t5g_source** source);

T5G_API t5g_status t5g_source_get_ids(const t5g_source* source, const int32_t** ids, size_t* n_ids);
/* Tokens that options.truncation has cut away. */
T5G_API t5g_status t5g_source_get_n_truncated(const t5g_source* source, size_t* n_truncated);
/* The encoder's final hidden states [n_tokens, hidden_size], as floats whatever they are kept as. states: for
 * t5g_free(). */
T5G_API t5g_status t5g_source_get_hidden_states(const t5g_source* source, float** states, size_t* n_tokens,
                                                size_t* hidden_size);
T5G_API void t5g_source_free(t5g_source* source);

/* ---- Generation ------------------------------------------------------------------------------------------------ */

typedef enum t5g_early_stopping {
  T5G_EARLY_STOPPING_FALSE = 0,
  T5G_EARLY_STOPPING_TRUE = 1,
  T5G_EARLY_STOPPING_NEVER = 2
} t5g_early_stopping;

typedef enum t5g_draft { T5G_DRAFT_OFF = 0, T5G_DRAFT_SOURCE = 1 } t5g_draft;

typedef struct t5g_logit_bias { /* this struct stays as it is */
  int32_t token_id;
  double bias; /* minus infinity bans it */
} t5g_logit_bias;

typedef struct t5g_token_run { /* this struct stays as it is */
  const int32_t* ids;
  size_t n_ids;
} t5g_token_run;

typedef enum t5g_allow {
  T5G_ALLOW_MASK = 0, /* the tokens of the mask */
  T5G_ALLOW_ALL = 1,  /* every token, whatever the mask has */
  T5G_ALLOW_STOP = 2  /* stop, a batch as a whole, as with a callback of text */
} t5g_allow;
/* Which tokens may come next. ids: those generated so far, of which none ends the text. mask: bit i % 32 of mask[i /
 * 32] stands for token i, end tokens included; all of it is 0 before the call. n_words: (vocab_size + 31) / 32. Returns
 * a t5g_allow. For several sequences or beams of a source it is called for each, maybe more than once, and must answer
 * the same for the same ids. It may bring any grammar: llguidance's C functions fill such masks from a regular
 * expression, a JSON schema or a Lark grammar. */
typedef int32_t (*t5g_allowed_callback)(void* user_data, size_t source, const int32_t* ids, size_t n_ids,
                                        uint32_t* mask, size_t n_words);

/* Names and meanings are those of Python's model.generate(), and of Hugging Face. */
typedef struct t5g_generate_options {
  size_t struct_size;
  /* options: those of csrc/sampling/options.h; arrays have their number beside them */
  int32_t max_new_tokens;            /* tokens to generate at most */
  int32_t min_new_tokens;            /* tokens to generate before the text may end */
  uint64_t seed;                     /* seed of the random numbers; the same seed gives the same text */
  double temperature;                /* spread of the sampling; 0 = always the most likely token */
  int32_t top_k;                     /* sample from the k most likely tokens; 0 = from all */
  double top_p;                      /* sample from the fewest tokens whose probabilities add up to p; 1 = from all */
  double min_p;                      /* drop tokens less likely than this share of the most likely one; 0 = none */
  double typical_p;                  /* sample from the tokens whose surprise is closest to the expected one */
  double epsilon_cutoff;             /* drop tokens less likely than this; 0 = none */
  double eta_cutoff;                 /* drop tokens less likely than this, or than less where the model is unsure */
  double repetition_penalty;         /* above 1, tokens that the target already has become less likely; 1 = off */
  int32_t no_repeat_ngram_size;      /* no run of this many tokens occurs twice in the target; 0 = off */
  double encoder_repetition_penalty; /* above 1, tokens that the source has become more likely; 1 = off */
  int32_t encoder_no_repeat_ngram_size; /* no run of this many tokens of the source occurs in the target; 0 = off */
  const t5g_logit_bias* logit_bias;     /* added to the logits of these tokens */
  size_t n_logit_bias;
  const int32_t* suppress_tokens; /* ids of tokens never to generate */
  size_t n_suppress_tokens;
  const t5g_token_run* bad_words; /* runs of tokens never to generate */
  size_t n_bad_words;
  int32_t forced_bos_token_id;  /* id of the first token to generate; -1 = none */
  const int32_t* eos_token_ids; /* ids that end a text, instead of the model's */
  size_t n_eos_token_ids;
  int32_t num_beams;            /* beams of the beam search; 1 = off */
  double length_penalty;        /* beam scores are divided by length to this power */
  int32_t early_stopping;       /* t5g_early_stopping */
  int32_t num_return_sequences; /* sequences to return: the best beams, or independent samples */
  int32_t alternatives;         /* greedy: this many texts, which begin with the likeliest first tokens; 0 = off */
  int32_t logprobs;             /* of every token, find this many of the likeliest tokens */
  double timeout;               /* seconds after which the text ends as it is; 0 = none */
  int32_t draft;                /* t5g_draft: greedy decoding checks several drafted tokens at a time */
  /* end of options */
  int32_t has_seed;            /* 0: another seed for every call */
  int32_t skip_special_tokens; /* leave special tokens out of the text */
  const char* const* stop;     /* texts that end a text, and are not part of it */
  size_t n_stop;
  const char* const* choices; /* texts of which the generated one is one; not beside allowed_tokens */
  size_t n_choices;
  t5g_allowed_callback allowed_tokens; /* which tokens may come next; NULL: all */
  const int32_t* decoder_prefix;       /* how the text begins; the start token is put in front where it is not there */
  size_t n_decoder_prefix;
  size_t max_batch_size;             /* sequences that run together */
  t5g_cancel* cancel;                /* NULL: none */
  t5g_text_callback on_text;         /* the first sequence's text as it comes; of beam search at the end */
  t5g_progress_callback on_progress; /* new tokens, of max_new_tokens; in a batch: sources that are done */
  t5g_log_callback on_log;           /* options that have no effect as the others are */
  void* user_data;                   /* of the callbacks */
} t5g_generate_options;

/* model: fills in the defaults that its file has; arrays and texts of theirs live as long as the model. NULL: t5g's
 * own. */
T5G_API t5g_status t5g_generate_options_init(const t5g_model* model, t5g_generate_options* options, size_t struct_size);

typedef struct t5g_result t5g_result;

/* Writes a text about a source. One that was stopped is a result too: its finish_reason is T5G_FINISH_CANCELLED. */
T5G_API t5g_status t5g_generate(t5g_model* model, const t5g_source* source, const t5g_generate_options* options,
                                t5g_result** result);
/* A text about each of several sources, with the tokens that it would get alone. results: room for n_sources. */
T5G_API t5g_status t5g_generate_batch(t5g_model* model, const t5g_source* const* sources, size_t n_sources,
                                      const t5g_generate_options* options, t5g_result** results);

typedef enum t5g_finish_reason {
  T5G_FINISH_STOP = 0, /* an end token or a stop text */
  T5G_FINISH_LENGTH = 1,
  T5G_FINISH_CANCELLED = 2,
  T5G_FINISH_TIMEOUT = 3
} t5g_finish_reason;

typedef struct t5g_sequence {
  size_t struct_size;
  const char* text;
  size_t text_size;
  const int32_t* token_ids; /* generated ones, with the one that ended the text */
  size_t n_token_ids;
  int32_t finish_reason; /* t5g_finish_reason */
  int32_t has_score;     /* of beam search, by which its sequences are sorted */
  float score;
} t5g_sequence;

/* Never less than 1. */
T5G_API t5g_status t5g_result_get_n_sequences(const t5g_result* result, size_t* n_sequences);
/* The best or first one is 0. */
T5G_API t5g_status t5g_result_get_sequence(const t5g_result* result, size_t index, t5g_sequence* sequence);
/* Sum of the model's own log-probabilities of the tokens. Greedy decoding has not computed it yet: the first time takes
 * a moment, and T5G_CLOSED says that the model is gone. */
T5G_API t5g_status t5g_result_get_logprob(const t5g_result* result, size_t index, double* logprob);

/* ... and of each: logprobs [n_token_ids of the sequence], which n_floats says there is room for. */
T5G_API t5g_status t5g_result_get_token_logprobs(const t5g_result* result, size_t index, float* logprobs,
                                                 size_t n_floats);

/* What else was likely at a token, where options.logprobs asked for it: ids and log-probabilities, the likeliest first.
 * n: how many there are. */
T5G_API t5g_status t5g_result_get_top_logprobs(const t5g_result* result, size_t index, size_t token, int32_t* ids,
                                               float* logprobs, size_t room, size_t* n);

typedef struct t5g_timings {
  size_t struct_size;
  double load_seconds; /* opening the model, before the call */
  double image_seconds;
  double encode_seconds; /* the decoder's keys and values of the source */
  double decode_seconds; /* from the first decode step to the last; a batch shares its steps */
  int64_t n_source_tokens, n_new_tokens;
} t5g_timings;

T5G_API t5g_status t5g_result_get_timings(const t5g_result* result, t5g_timings* timings);
T5G_API void t5g_result_free(t5g_result* result);

/* ---- Scores, logits, embeddings -------------------------------------------------------------------------------- */

/* cancel: may be NULL in all of these. */

/* logprobs[i] = log p(ids[i] | source, ids[:i]); the start token is put in front and not scored. */
T5G_API t5g_status t5g_score(t5g_model* model, const t5g_source* source, const int32_t* ids, size_t n_ids,
                             t5g_cancel* cancel, float* logprobs);
/* logits [n_ids, vocab_size]: row i follows ids[: i + 1], so ids normally begin with the start token. n_floats: the
 * room that there is, n_ids * vocab_size. */
T5G_API t5g_status t5g_logits(t5g_model* model, const t5g_source* source, const int32_t* ids, size_t n_ids,
                              t5g_cancel* cancel, float* logits, size_t n_floats);

typedef enum t5g_pooling {
  T5G_POOLING_MEAN = 0,
  T5G_POOLING_FIRST = 1,
  T5G_POOLING_LAST = 2,
  T5G_POOLING_MAX = 3
} t5g_pooling;

/* One vector [hidden_size] of a source; zeros for one without tokens. normalize: scale it to length 1. n_floats: the
 * room that there is. Without pooling: t5g_source_get_hidden_states(). */
T5G_API t5g_status t5g_embed(const t5g_source* source, int32_t pooling, int32_t normalize, float* vector,
                             size_t n_floats);

#ifdef __cplusplus
}
#endif

#endif /* T5G_H */
