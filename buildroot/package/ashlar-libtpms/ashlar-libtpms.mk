################################################################################
#
# ashlar-libtpms
#
################################################################################

# Version, source and licence are those of the release's package.
ASHLAR_LIBTPMS_VERSION = $(LIBTPMS_VERSION)
ASHLAR_LIBTPMS_SOURCE = $(HOST_LIBTPMS_SOURCE)
ASHLAR_LIBTPMS_SITE = $(LIBTPMS_SITE)
ASHLAR_LIBTPMS_DL_SUBDIR = libtpms
ASHLAR_LIBTPMS_LICENSE = $(LIBTPMS_LICENSE)
ASHLAR_LIBTPMS_LICENSE_FILES = $(LIBTPMS_LICENSE_FILES)
ASHLAR_LIBTPMS_CPE_ID_VENDOR = libtpms_project
ASHLAR_LIBTPMS_CPE_ID_PRODUCT = libtpms
ASHLAR_LIBTPMS_INSTALL_STAGING = YES
ASHLAR_LIBTPMS_AUTORECONF = YES
ASHLAR_LIBTPMS_DEPENDENCIES = host-pkgconf openssl
ASHLAR_LIBTPMS_CONF_OPTS = --with-openssl --with-tpm2

$(eval $(autotools-package))

# The release's hashes and patches hold for it.
ASHLAR_LIBTPMS_HASH_FILES = $(HOST_LIBTPMS_HASH_FILES)
ASHLAR_LIBTPMS_PKGDIR = $(HOST_LIBTPMS_PKGDIR)
