// The bodies of all kernels.
#pragma once

#include "kernels/gpu/attention.h"
#include "kernels/gpu/elements.h"
#include "kernels/gpu/flash.h"
#include "kernels/gpu/image.h"
#include "kernels/gpu/latent.h"
#include "kernels/gpu/linear.h"
#include "kernels/gpu/matmul.h"
#include "kernels/gpu/matvec.h"
#include "kernels/gpu/norm.h"
#include "kernels/gpu/probe.h"
#include "kernels/gpu/rows.h"
#include "kernels/gpu/select.h"
