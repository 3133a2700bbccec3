/* Generates a text about a text: generate MODEL.gguf TEXT. C99 and t5g.h are all that it needs.
 *
 *   cc -std=c99 generate.c $(pkg-config --cflags --libs t5g) -o generate
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <t5g.h>

static int32_t print_text(void* user_data, size_t source, const char* text, size_t size) {
  (void)user_data;
  (void)source;
  fwrite(text, 1, size, stdout);
  return fflush(stdout) != 0; /* nobody listens any more: stop */
}

static void print_warning(void* user_data, t5g_log_level level, const char* message) {
  (void)user_data;
  if (level == T5G_LOG_WARNING) fprintf(stderr, "generate: %s\n", message);
}

/* A model that was trained on conversations gets the text as one user turn. */
static t5g_status encode(t5g_model* model, const char* text, t5g_source** source) {
  t5g_model_info info;
  t5g_chat_message message;
  t5g_status status;
  int32_t* ids = NULL;
  size_t n_ids = 0;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  status = t5g_model_get_info(model, &info);
  if (status != T5G_OK || !info.has_chat_template) {
    return status != T5G_OK ? status : t5g_encode_text(model, text, T5G_TO_ZERO, NULL, source);
  }
  message.role = "user";
  message.content = text;
  status = t5g_apply_chat_template(model, &message, 1, &ids, &n_ids);
  if (status == T5G_OK) status = t5g_encode_ids(model, ids, n_ids, NULL, source);
  t5g_free(ids);
  return status;
}

static t5g_status generate(t5g_model* model, const char* text) {
  t5g_generate_options options;
  t5g_source* source = NULL;
  t5g_result* result = NULL;
  t5g_status status = encode(model, text, &source);
  if (status == T5G_OK) status = t5g_generate_options_init(model, &options, sizeof options);
  if (status == T5G_OK) {
    options.on_text = print_text;
    options.on_log = print_warning;
    status = t5g_generate(model, source, &options, &result);
  }
  if (status == T5G_OK) putchar('\n');
  t5g_result_free(result);
  t5g_source_free(source);
  return status;
}

int main(int argc, char** argv) {
  t5g_model* model = NULL;
  t5g_status status;
  if (argc != 3) {
    fprintf(stderr, "usage: generate MODEL.gguf TEXT\n");
    return 2;
  }
  status = t5g_model_open(argv[1], NULL, &model);
  if (status == T5G_OK) status = generate(model, argv[2]);
  if (status != T5G_OK) fprintf(stderr, "generate: error: %s\n", t5g_message());
  t5g_model_free(model);
  if (status == T5G_OK && (fflush(stdout) != 0 || ferror(stdout))) {
    fprintf(stderr, "generate: error: standard output cannot be written to\n");
    return EXIT_FAILURE;
  }
  return status == T5G_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
