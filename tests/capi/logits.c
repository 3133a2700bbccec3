/* Writes about a text, and prints the tokens and the bits of the logits that belong to them: logits MODEL.gguf TEXT. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <t5g.h>

static void print_bits(const float* values, size_t n) {
  size_t i;
  for (i = 0; i < n; ++i) {
    uint32_t bits;
    memcpy(&bits, &values[i], sizeof bits);
    printf("%08" PRIx32 "%c", bits, i + 1 < n ? ' ' : '\n');
  }
}

/* The start token and what was written after it. For free(). */
static int32_t* target_of(const t5g_model_info* info, const t5g_sequence* sequence) {
  int32_t* target = malloc((sequence->n_token_ids + 1) * sizeof *target);
  if (target == NULL) return NULL;
  target[0] = info->decoder_start_token_id;
  memcpy(target + 1, sequence->token_ids, sequence->n_token_ids * sizeof *target);
  return target;
}

static t5g_status print_logits(t5g_model* model, const t5g_source* source, const t5g_sequence* sequence) {
  t5g_model_info info;
  t5g_status status = T5G_OUT_OF_MEMORY;
  const size_t n = sequence->n_token_ids + 1;
  int32_t* target;
  float* logits;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  if (t5g_model_get_info(model, &info) != T5G_OK) return T5G_ERROR;
  target = target_of(&info, sequence);
  logits = malloc(n * (size_t)info.vocab_size * sizeof *logits);
  if (target != NULL && logits != NULL) {
    status = t5g_logits(model, source, target, n, NULL, logits, n * (size_t)info.vocab_size);
  }
  if (status == T5G_OK) print_bits(logits, n * (size_t)info.vocab_size);
  free(target);
  free(logits);
  return status;
}

int main(int argc, char** argv) {
  t5g_model* model = NULL;
  t5g_source* source = NULL;
  t5g_result* result = NULL;
  t5g_generate_options options;
  t5g_sequence sequence;
  size_t i;
  if (argc != 3) return 2;
  memset(&sequence, 0, sizeof sequence);
  sequence.struct_size = sizeof sequence;
  if (t5g_model_open(argv[1], NULL, &model) != T5G_OK) return 1;
  if (t5g_encode_text(model, argv[2], T5G_TO_ZERO, NULL, &source) != T5G_OK) return 1;
  if (t5g_generate_options_init(model, &options, sizeof options) != T5G_OK) return 1;
  options.max_new_tokens = 12;
  if (t5g_generate(model, source, &options, &result) != T5G_OK) return 1;
  if (t5g_result_get_sequence(result, 0, &sequence) != T5G_OK) return 1;
  for (i = 0; i < sequence.n_token_ids; ++i) printf("%" PRId32 " ", sequence.token_ids[i]);
  printf("\n");
  if (print_logits(model, source, &sequence) != T5G_OK) return 1;
  t5g_result_free(result);
  t5g_source_free(source);
  t5g_model_free(model);
  return 0;
}
